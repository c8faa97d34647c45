/**
 * An append-only Merkle tree, represented by its frontier: the roots of the perfect subtrees that
 * it consists of. The frontier is enough to append to the tree and to prove the last entry, so the
 * tree itself need not be stored.
 */
// SPDX-License-Identifier: Apache-2.0
import { EMPTY_ROOT, hashNode } from './merkle.ts'

/** Roots of the perfect subtrees, largest first: one for each 1 bit in the tree size. */
export type Frontier = readonly Buffer[]

/** @param size number of entries in the tree before `leaf` is appended */
export function appendToFrontier(frontier: Frontier, size: number, leaf: Buffer): Frontier {
  const next = [...frontier]
  let node = leaf
  for (let rest = size; rest % 2 === 1; rest = Math.floor(rest / 2)) {
    node = hashNode(next.pop() ?? EMPTY_ROOT, node)
  }
  return [...next, node]
}

export function rootOfFrontier(frontier: Frontier): Buffer {
  if (frontier.length === 0) return EMPTY_ROOT
  return frontier
    .slice(0, -1)
    .reduceRight(
      (right, left) => hashNode(left, right),
      frontier[frontier.length - 1] ?? EMPTY_ROOT,
    )
}

/**
 * Proves the last entry of a tree (RFC 6962, 2.1.1). The proof consists of the roots of the
 * subtrees before that entry, the smallest first.
 * @param before frontier of the tree without that entry
 */
export function proveLast(before: Frontier): readonly Buffer[] {
  return [...before].reverse()
}
