/**
 * Implements the Merkle tree of RFC 6962 over SHA-256 as pure functions: hashes, roots, inclusion
 * proofs and consistency proofs. Sizes go up to 2^53, so the code avoids bit operations.
 */
// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto'
import { forEachInSlices } from '../slices.ts'

export const HASH_BYTES = 32

/** Root of the empty tree (RFC 6962, 2.1). */
export const EMPTY_ROOT = sha256(Buffer.alloc(0))

/** RFC 6962, 2.1: prefixes that tell leaves and nodes apart. */
const LEAF = 0
const NODE = 1

/**
 * Reusable memory for a prefix and the bytes to hash after it, because Buffer.concat would take
 * longer.
 */
const leafInput = Buffer.alloc(4096)
const nodeInput = Buffer.alloc(1 + 2 * HASH_BYTES)
leafInput[0] = LEAF
nodeInput[0] = NODE

/**
 * Converts the digest through a string, because that takes half the time: Node.js would allocate an
 * ArrayBuffer for each hash, whereas Buffer.from takes the bytes from a pool.
 */
function sha256(bytes: Buffer): Buffer {
  return Buffer.from(hash('sha256', bytes, 'binary'), 'latin1')
}

export function hashLeaf(entry: Buffer): Buffer {
  const length = 1 + entry.length
  if (length > leafInput.length) return sha256(Buffer.concat([Buffer.from([LEAF]), entry]))
  leafInput.set(entry, 1)
  return sha256(leafInput.subarray(0, length))
}

export function hashNode(left: Buffer, right: Buffer): Buffer {
  nodeInput.set(left, 1)
  nodeInput.set(right, 1 + HASH_BYTES)
  return sha256(nodeInput)
}

/**
 * Hashes the leaf from `start` to `end` like `hashLeaf`, and returns the hash as a binary string.
 * Uses the byte before the leaf for the prefix, so that the leaf is not copied, and restores it.
 */
export function hashLeafInPlace(bytes: Buffer, start: number, end: number): string {
  const before = bytes[start - 1] ?? LEAF
  bytes[start - 1] = LEAF
  const made = hash('sha256', bytes.subarray(start - 1, end), 'binary')
  bytes[start - 1] = before
  return made
}

/** Maximum number of hashes that `hashPerfect` computes with in `rows`. */
const MAX_ROW = 256
/** Memory for a row of hashes, after the space for a prefix. */
const rows = Buffer.alloc(1 + MAX_ROW * HASH_BYTES)
/** Each pair of hashes in a row, together with the byte before the pair. */
const pairs = Array.from({ length: MAX_ROW / 2 }, (_, i) => {
  const at = 2 * HASH_BYTES * i
  return rows.subarray(at, at + 1 + 2 * HASH_BYTES)
})

/** Computes the root of a perfect tree. The number of hashes must be a power of two. */
export function hashPerfect(hashes: readonly Buffer[]): Buffer {
  if (hashes.length > MAX_ROW) {
    const middle = hashes.length / 2
    return hashNode(hashPerfect(hashes.slice(0, middle)), hashPerfect(hashes.slice(middle)))
  }
  if (hashes.length === 0) return EMPTY_ROOT
  let at = 1
  for (const one of hashes) {
    rows.set(one, at)
    at += HASH_BYTES
  }
  return hashRows(hashes.length)
}

/** Works like `hashPerfect`, but on a buffer of at most 256 concatenated hashes. */
export function hashPerfectRow(hashes: Buffer): Buffer {
  rows.set(hashes, 1)
  return hashRows(hashes.length / HASH_BYTES)
}

/**
 * Computes the root of the first `count` hashes in `rows`. Each completed row overwrites the row
 * below it, so only the root is allocated. The hashes of a row are written together. This takes
 * half as long as calling `hashNode` for each pair.
 */
function hashRows(count: number): Buffer {
  for (let width = count / 2; width >= 1; width /= 2) {
    let row = ''
    for (const pair of pairs.slice(0, width)) {
      // This byte belongs to the pair before, which has been hashed already.
      pair[0] = NODE
      row += hash('sha256', pair, 'binary')
    }
    rows.write(row, 1, row.length, 'latin1')
  }
  return Buffer.from(rows.subarray(1, 1 + HASH_BYTES))
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

/** Number of nodes that are hashed in one turn of the event loop. */
const SLICE = 500

/**
 * Reads nodes as `nodesOf` does, but first hashes the entire tree in short event-loop turns,
 * because there may be many leaves.
 */
export async function hashTree(leaves: readonly Buffer[]): Promise<NodeReader> {
  const levels = [leaves]
  for (let below = leaves; below.length > 1;) {
    const above: Buffer[] = []
    let left: Buffer | undefined
    await forEachInSlices(below, SLICE, (node) => {
      if (left !== undefined) above.push(hashNode(left, node))
      left = left === undefined ? node : undefined
    })
    levels.push(above)
    below = above
  }
  return (level, index) => {
    const node = levels[level]?.[index]
    if (node === undefined) throw new RangeError('the tree has no such node')
    return node
  }
}

/** Returns the largest power of two below `size`, which must be 2 or more. */
function splitOf(size: number): number {
  let split = 1
  while (split * 2 < size) split *= 2
  return split
}

/**
 * Returns MTH(D[start:end]) of RFC 6962, 2.1. `start` is a multiple of the smallest power of two
 * that is at least the length of the range.
 */
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

/**
 * Returns the inclusion proof (RFC 6962, 2.1.1), from the sibling of the leaf up to a child of the
 * root.
 */
export function proveInclusion(node: NodeReader, index: number, size: number): Buffer[] {
  if (index >= size) throw new RangeError(`a tree of size ${String(size)} has no such leaf`)
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

/**
 * Returns the consistency proof (RFC 6962, 2.1.2), which is empty when the older tree is empty or
 * the trees are the same.
 */
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
