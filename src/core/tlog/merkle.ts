/**
 * The Merkle tree of RFC 6962 over SHA-256: hashes, roots, inclusion proofs and consistency proofs,
 * as pure functions. Sizes go up to 2^53, so the code avoids bit operations.
 */
// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto'

export const HASH_BYTES = 32

/** RFC 6962, 2.1: the root of the tree without entries. */
export const EMPTY_ROOT = sha256(Buffer.alloc(0))

const LEAF = Buffer.from([0])
const NODE = Buffer.from([1])

function sha256(bytes: Buffer): Buffer {
  return hash('sha256', bytes, 'buffer')
}

export function hashLeaf(entry: Buffer): Buffer {
  return sha256(Buffer.concat([LEAF, entry]))
}

export function hashNode(left: Buffer, right: Buffer): Buffer {
  return sha256(Buffer.concat([NODE, left, right], 1 + 2 * HASH_BYTES))
}

/**
 * Returns the hash of the perfect subtree over the leaves from `index * 2^level` to, but not
 * including, `(index + 1) * 2^level`.
 */
export type NodeReader = (level: number, index: number) => Buffer

/** Reads nodes of the tree over these leaf hashes. */
export function nodesOf(leaves: readonly Buffer[]): NodeReader {
  const node: NodeReader = (level, index) => {
    if (level > 0) return hashNode(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))
    const leaf = leaves[index]
    if (leaf === undefined) throw new RangeError('the tree has no such leaf')
    return leaf
  }
  return node
}

/** Returns the largest power of two below `size`, which is 2 or more. */
function splitOf(size: number): number {
  let split = 1
  while (split * 2 < size) split *= 2
  return split
}

/** RFC 6962, 2.1, MTH(D[start:end]). `start` is a multiple of the smallest power of two not below the length. */
function hashRange(node: NodeReader, start: number, end: number): Buffer {
  const length = end - start
  const level = Math.log2(length)
  if (Number.isInteger(level) && 2 ** level === length) return node(level, start / length)
  const split = splitOf(length)
  return hashNode(hashRange(node, start, start + split), hashRange(node, start + split, end))
}

export function rootOf(node: NodeReader, size: number): Buffer {
  return size === 0 ? EMPTY_ROOT : hashRange(node, 0, size)
}

/** Inclusion proof (RFC 6962, 2.1.1), from the sibling of the leaf up to a child of the root. */
export function proveInclusion(node: NodeReader, index: number, size: number): Buffer[] {
  if (index >= size) throw new RangeError(`the tree of ${String(size)} has no such leaf`)
  const path = (start: number, end: number): Buffer[] => {
    if (end - start === 1) return []
    const middle = start + splitOf(end - start)
    return index < middle
      ? [...path(start, middle), hashRange(node, middle, end)]
      : [...path(middle, end), hashRange(node, start, middle)]
  }
  return path(0, size)
}

/** Returns the root that a proof leads to; undefined if the proof has the wrong length. */
export function rootFromInclusion(
  leaf: Buffer,
  index: number,
  size: number,
  proof: readonly Buffer[],
): Buffer | undefined {
  if (index >= size) return undefined
  const rest = [...proof]
  const climb = (at: number, length: number): Buffer | undefined => {
    if (length === 1) return leaf
    const last = rest.pop()
    const split = splitOf(length)
    const below = at < split ? climb(at, split) : climb(at - split, length - split)
    if (last === undefined || below === undefined) return undefined
    return at < split ? hashNode(below, last) : hashNode(last, below)
  }
  const root = climb(index, size)
  return rest.length === 0 ? root : undefined
}

/** RFC 6962, 2.1.2. Empty when the older tree is empty or the trees are the same. */
export function proveConsistency(node: NodeReader, older: number, newer: number): Buffer[] {
  if (older > newer) throw new RangeError('the older tree is larger than the newer one')
  const path = (start: number, end: number, isWhole: boolean): Buffer[] => {
    if (older === end) return isWhole ? [] : [hashRange(node, start, end)]
    const middle = start + splitOf(end - start)
    return older <= middle
      ? [...path(start, middle, isWhole), hashRange(node, middle, end)]
      : [...path(middle, end, false), hashRange(node, start, middle)]
  }
  return older === 0 ? [] : path(0, newer, true)
}

export interface TreeHead {
  readonly size: number
  readonly root: Buffer
}

/** Reports whether the proof shows that the older tree is a prefix of the newer one. */
export function isConsistent(older: TreeHead, newer: TreeHead, proof: readonly Buffer[]): boolean {
  if (older.size > newer.size) return false
  if (older.size === 0) return proof.length === 0 && older.root.equals(EMPTY_ROOT)
  const rest = [...proof]
  type Roots = readonly [old: Buffer, fresh: Buffer]
  const climb = (at: number, length: number, isWhole: boolean): Roots | undefined => {
    if (at === length) {
      const known = isWhole ? older.root : rest.pop()
      return known && [known, known]
    }
    const last = rest.pop()
    const split = splitOf(length)
    const below = at <= split ? climb(at, split, isWhole) : climb(at - split, length - split, false)
    if (last === undefined || below === undefined) return undefined
    const [old, fresh] = below
    return at <= split ? [old, hashNode(fresh, last)] : [hashNode(last, old), hashNode(last, fresh)]
  }
  const roots = climb(older.size, newer.size, true)
  return (
    roots !== undefined &&
    rest.length === 0 &&
    roots[0].equals(older.root) &&
    roots[1].equals(newer.root)
  )
}
