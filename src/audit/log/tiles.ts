/**
 * The files of a log, as c2sp.org/tlog-tiles names them: tiles of hashes, bundles of entries, and the
 * growing tree that produces both.
 */
// SPDX-License-Identifier: Apache-2.0
import { EMPTY_ROOT, HASH_BYTES, hashLeaf, hashNode } from '../../core/tlog/merkle.ts'

/** Number of hashes in a full tile, and of entries in a full bundle. */
export const TILE_WIDTH = 256
/** The length of an entry in a bundle is a uint16. */
export const MAX_ENTRY_BYTES = 65_535

/** Path of tile `index` of a level below the folder of the log. */
export function tilePath(level: number | 'entries', index: number, width = TILE_WIDTH): string {
  const digits = String(index)
  const padded = digits.padStart(Math.ceil(digits.length / 3) * 3, '0')
  const parts = padded.match(/\d{3}/g) ?? []
  const path = parts.map((part, i) => (i === parts.length - 1 ? part : `x${part}`)).join('/')
  const partial = width === TILE_WIDTH ? '' : `.p/${String(width)}`
  return `tile/${String(level)}/${path}${partial}`
}

/** Returns the number of hashes in the partial tile of a level; 0 if the level has no partial tile. */
export function partialWidth(level: number, size: number): number {
  return Math.floor(size / TILE_WIDTH ** level) % TILE_WIDTH
}

/** Returns the number of full tiles of a level in a tree. */
export function fullTiles(level: number, size: number): number {
  return Math.floor(size / TILE_WIDTH ** (level + 1))
}

/** Returns the number of levels that a tree has. */
export function levelsOf(size: number): number {
  let levels = 0
  while (Math.floor(size / TILE_WIDTH ** levels) > 0) levels += 1
  return levels
}

/** @throws RangeError for an entry that is too long */
export function encodeBundle(entries: readonly Buffer[]): Buffer {
  return Buffer.concat(
    entries.flatMap((entry) => {
      if (entry.length > MAX_ENTRY_BYTES) throw new RangeError('the entry is too long')
      const length = Buffer.alloc(2)
      length.writeUInt16BE(entry.length)
      return [length, entry]
    }),
  )
}

/** Returns undefined unless the bytes are a whole number of entries. */
export function decodeBundle(bytes: Buffer): readonly Buffer[] | undefined {
  const entries: Buffer[] = []
  let at = 0
  while (at + 2 <= bytes.length) {
    const end = at + 2 + bytes.readUInt16BE(at)
    if (end > bytes.length) return undefined
    entries.push(bytes.subarray(at + 2, end))
    at = end
  }
  return at === bytes.length ? entries : undefined
}

export function splitTile(bytes: Buffer): readonly Buffer[] {
  return Array.from({ length: Math.floor(bytes.length / HASH_BYTES) }, (_, i) =>
    bytes.subarray(i * HASH_BYTES, (i + 1) * HASH_BYTES),
  )
}

/** Computes the root of a perfect tree. The number of hashes must be a power of two. */
export function hashPerfect(hashes: readonly Buffer[]): Buffer {
  let row = hashes
  while (row.length > 1) {
    const next: Buffer[] = []
    for (let i = 0; i + 1 < row.length; i += 2) {
      next.push(hashNode(row[i] ?? EMPTY_ROOT, row[i + 1] ?? EMPTY_ROOT))
    }
    row = next
  }
  return row[0] ?? EMPTY_ROOT
}

export interface Tile {
  readonly level: number
  readonly index: number
  readonly hashes: readonly Buffer[]
}

/** The tree of a log while it grows. It holds the last, partial tile of each level and nothing else. */
export class GrowingTree {
  /** Hashes of the last tile of each level; always fewer than a full tile. */
  readonly #levels: Buffer[][] = []
  #size = 0

  /** @param levels hashes of the partial tile of each level at this size */
  constructor(size = 0, levels: readonly (readonly Buffer[])[] = []) {
    this.#size = size
    this.#levels = levels.map((hashes) => [...hashes])
  }

  get size(): number {
    return this.#size
  }

  /** Hashes in the partial tile of each level. */
  get levels(): readonly (readonly Buffer[])[] {
    return this.#levels
  }

  /** Returns the tiles that this entry has filled, from the lowest level up. */
  append(entry: Buffer): readonly Tile[] {
    return this.appendHash(hashLeaf(entry))
  }

  appendHash(leaf: Buffer): readonly Tile[] {
    const filled: Tile[] = []
    this.#size += 1
    let carried = leaf
    for (let level = 0; ; level++) {
      const hashes = (this.#levels[level] ??= [])
      hashes.push(carried)
      if (hashes.length < TILE_WIDTH) return filled
      filled.push({ level, index: fullTiles(level, this.#size) - 1, hashes })
      this.#levels[level] = []
      carried = hashPerfect(hashes)
    }
  }

  /** Returns the partial tiles of the current tree. */
  partials(): readonly Tile[] {
    return this.#levels.flatMap((hashes, level) =>
      hashes.length === 0
        ? []
        : [{ level, index: fullTiles(level, this.#size), hashes: [...hashes] }],
    )
  }

  root(): Buffer {
    // Goes from right to left, since the last perfect subtree is the smallest.
    let root: Buffer | undefined
    for (const hashes of this.#levels) {
      let end = hashes.length
      while (end > 0) {
        // The lowest bit of the remaining size is the size of the rightmost perfect subtree.
        const width = end & -end
        const subtree = hashPerfect(hashes.slice(end - width, end))
        root = root === undefined ? subtree : hashNode(subtree, root)
        end -= width
      }
    }
    return root ?? EMPTY_ROOT
  }
}

/**
 * Reads nodes of a tree of this size from its tiles.
 * @param readTile returns the hashes of a tile, at least `width` of them
 */
export function readNodes(
  size: number,
  readTile: (level: number, index: number, width: number) => readonly Buffer[],
): (level: number, index: number) => Buffer {
  return (level, index) => {
    const tileLevel = Math.floor(level / 8)
    const height = level % 8
    const first = index * 2 ** height
    const tile = Math.floor(first / TILE_WIDTH)
    const isFull = tile < fullTiles(tileLevel, size)
    const width = isFull ? TILE_WIDTH : partialWidth(tileLevel, size)
    const from = first % TILE_WIDTH
    const hashes = readTile(tileLevel, tile, width).slice(from, from + 2 ** height)
    if (hashes.length !== 2 ** height) throw new RangeError('the tree has no such node')
    return hashPerfect(hashes)
  }
}
