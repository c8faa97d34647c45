/** Literal implementation of RFC 6962 over lists of entries. It is slow, and independent of src/audit. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'

const sha256 = (...parts: readonly Buffer[]) => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

/** Returns the largest power of two below `n`. */
const k = (n: number) => 2 ** (Math.ceil(Math.log2(n)) - 1)

/** Computes the Merkle tree hash MTH(D[n]), section 2.1. */
export function plainRoot(entries: readonly Buffer[]): Buffer {
  const [first] = entries
  if (first === undefined) return sha256()
  if (entries.length === 1) return sha256(Buffer.from([0]), first)
  const split = k(entries.length)
  const [left, right] = [entries.slice(0, split), entries.slice(split)]
  return sha256(Buffer.from([1]), plainRoot(left), plainRoot(right))
}

/** Computes the audit path PATH(m, D[n]), section 2.1.1. */
export function plainInclusion(index: number, entries: readonly Buffer[]): Buffer[] {
  if (entries.length <= 1) return []
  const split = k(entries.length)
  const [left, right] = [entries.slice(0, split), entries.slice(split)]
  return index < split
    ? [...plainInclusion(index, left), plainRoot(right)]
    : [...plainInclusion(index - split, right), plainRoot(left)]
}

/** Computes the consistency proof SUBPROOF(m, D[n], b), section 2.1.2. */
export function plainConsistency(
  older: number,
  entries: readonly Buffer[],
  isWhole = true,
): Buffer[] {
  if (older === entries.length) return isWhole ? [] : [plainRoot(entries)]
  const split = k(entries.length)
  const [left, right] = [entries.slice(0, split), entries.slice(split)]
  return older <= split
    ? [...plainConsistency(older, left, isWhole), plainRoot(right)]
    : [...plainConsistency(older - split, right, false), plainRoot(left)]
}
