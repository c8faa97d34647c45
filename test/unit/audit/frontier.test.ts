/** Tests the Merkle tree that a store keeps over its events, against a naive implementation. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  appendToFrontier,
  type Frontier,
  proveLast,
  rootOfFrontier,
} from '../../../src/core/tlog/frontier.ts'
import { hashLeaf, nodesOf, rootOf } from '../../../src/core/tlog/merkle.ts'
import { plainInclusion, plainRoot } from '../../support/merkle.ts'

void t.test('root and proof of the last entry, at every size', (t) => {
  const entries: Buffer[] = []
  let frontier: Frontier = []
  t.same(rootOfFrontier(frontier), plainRoot([]))
  for (let size = 0; size < 140; size++) {
    const entry = Buffer.from(`entry ${String(size)}`)
    entries.push(entry)
    const before = frontier
    frontier = appendToFrontier(before, size, hashLeaf(entry))
    t.same(proveLast(before), plainInclusion(size, entries))
    t.same(rootOfFrontier(frontier), plainRoot(entries))
    t.same(rootOf(nodesOf(entries.map(hashLeaf)), entries.length), plainRoot(entries))
  }
  t.equal(frontier.length, 3, '140 has three bits')
  t.end()
})
