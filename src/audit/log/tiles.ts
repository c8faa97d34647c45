/**
 * Names and builds a log's files as in c2sp.org/tlog-tiles: tiles of hashes, bundles of entries,
 * and the growing tree that produces both.
 */
// SPDX-License-Identifier: Apache-2.0
import { EMPTY_ROOT, HASH_BYTES, hashLeaf, hashNode, hashPerfect } from '../../core/tlog/merkle.ts'

/** Number of hashes in a full tile, and of entries in a full bundle. */
export const TILE_WIDTH = 256
/** A bundle encodes each entry's length as a uint16. */
export const ENTRY_HEAD_BYTES = 2
export const MAX_ENTRY_BYTES = 65_535

/** Returns the path of tile `index` on a level, relative to the log's directory. */
export function tilePath(level: number | 'entries', index: number, width = TILE_WIDTH): string {
  const digits = String(index)
  const padded = digits.padStart(Math.ceil(digits.length / 3) * 3, '0')
  const parts = padded.match(/\d{3}/g) ?? []
  const path = parts.map((part, i) => (i === parts.length - 1 ? part : `x${part}`)).join('/')
  const partial = width === TILE_WIDTH ? '' : `.p/${String(width)}`
  return `tile/${String(level)}/${path}${partial}`
}

/** Returns the number of hashes in a level's partial tile; 0 if it has none. */
export function partialWidth(level: number, size: number): number {
  return Math.floor(size / TILE_WIDTH ** level) % TILE_WIDTH
}

/** Returns the number of full tiles on one level of a tree. */
export function fullTiles(level: number, size: number): number {
  return Math.floor(size / TILE_WIDTH ** (level + 1))
}

/** Returns the number of levels in a tree. */
export function levelsOf(size: number): number {
  let levels = 0
  while (Math.floor(size / TILE_WIDTH ** levels) > 0) levels += 1
  return levels
}

/** @throws RangeError if the entry is too long */
export function encodeBundle(entries: readonly Buffer[]): Buffer {
  return Buffer.concat(
    entries.flatMap((entry) => {
      if (entry.length > MAX_ENTRY_BYTES)
        throw new RangeError(
          `expected an entry of at most ${String(MAX_ENTRY_BYTES)} bytes, found ${String(entry.length)}`,
        )
      const length = Buffer.alloc(2)
      length.writeUInt16BE(entry.length)
      return [length, entry]
    }),
  )
}

/** Returns undefined unless the bytes contain a whole number of entries. */
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

export interface Tile {
  readonly level: number
  readonly index: number
  readonly hashes: readonly Buffer[]
}

/** A log's tree as it grows. It holds only the last, partial tile of each level. */
export class GrowingTree {
  /** Hashes in each level's last tile; always fewer than a full tile. */
  readonly #levels: Buffer[][] = []
  #size = 0

  /** @param levels each level's partial tile at this size */
  constructor(size = 0, levels: readonly (readonly Buffer[])[] = []) {
    this.#size = size
    this.#levels = levels.map((hashes) => [...hashes])
  }

  get size(): number {
    return this.#size
  }

  /** The hashes in each level's partial tile. */
  get levels(): readonly (readonly Buffer[])[] {
    return this.#levels
  }

  /** Returns the tiles that this entry completes, from the lowest level up. */
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

  /** Returns the current tree's partial tiles. */
  partials(): readonly Tile[] {
    return this.#levels.flatMap((hashes, level) =>
      hashes.length === 0
        ? []
        : [{ level, index: fullTiles(level, this.#size), hashes: [...hashes] }],
    )
  }

  root(): Buffer {
    // Works from right to left, because the last perfect subtree is the smallest.
    let root: Buffer | undefined
    for (const hashes of this.#levels) {
      let end = hashes.length
      while (end > 0) {
        // The lowest set bit of the remaining size is the size of the rightmost perfect subtree.
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
 * Reads nodes from the tiles of a tree of this size.
 * @param readTile returns a tile's hashes, at least `width` of them
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
