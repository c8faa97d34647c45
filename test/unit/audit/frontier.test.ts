/** Tests the Merkle tree over a store's events against a naive implementation. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  appendToFrontier,
  type Frontier,
  proveLast,
  rootOfFrontier,
} from '../../../src/core/tlog/frontier.ts'
import {
  hashLeaf,
  hashTree,
  nodesOf,
  proveInclusion,
  rootOf,
} from '../../../src/core/tlog/merkle.ts'
import { plainInclusion, plainRoot } from '../../support/merkle.ts'

void t.test('root and proof of the last entry, at every size', async (t) => {
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
    const leaves = entries.map(hashLeaf)
    t.same(rootOf(nodesOf(leaves), entries.length), plainRoot(entries))
    const tree = await hashTree(leaves)
    t.same(rootOf(tree, entries.length), plainRoot(entries))
    const middle = Math.floor(size / 2)
    t.same(proveInclusion(tree, middle, entries.length), plainInclusion(middle, entries))
  }
  t.equal(frontier.length, 3, '140 has three bits')
})
