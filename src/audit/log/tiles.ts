/**
 * Names and builds a log's files as in c2sp.org/tlog-tiles: tiles of hashes, bundles of entries,
 * and the growing tree that produces both.
 */
// SPDX-License-Identifier: Apache-2.0
import {
  EMPTY_ROOT,
  HASH_BYTES,
  hashLeaf,
  hashLeafInPlace,
  hashNode,
  hashPerfect,
  hashPerfectRow,
} from '../../core/tlog/merkle.ts'

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

/** Returns the path that a partial tile will have once it is full. */
export function toFullPath(path: string): string {
  return path.replace(/\.p\/\d+$/, '')
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

/**
 * For a tree of this size, returns the paths that its partial tiles will have once they are full.
 */
export function partialTiles(size: number): ReadonlySet<string> {
  const paths = new Set<string>()
  for (let level = 0; level < levelsOf(size); level++) {
    if (partialWidth(level, size) === 0) continue
    paths.add(tilePath(level, fullTiles(level, size)))
    if (level === 0) paths.add(tilePath('entries', fullTiles(level, size)))
  }
  return paths
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
  /** The tile's hashes, one after another, as in its file. */
  readonly bytes: Buffer
  readonly hashes: readonly Buffer[]
}

function toTile(level: number, index: number, bytes: Buffer): Tile {
  return {
    ...{ level, index, bytes },
    get hashes() {
      return splitTile(bytes)
    },
  }
}

/** The hashes in a level's last tile, which is never full. */
interface Edge {
  bytes: Buffer
  width: number
}

const TILE_BYTES = TILE_WIDTH * HASH_BYTES

/** A log's tree as it grows. It holds only the last, partial tile of each level. */
export class GrowingTree {
  readonly #edges: Edge[]
  #size = 0

  /** @param levels each level's partial tile at this size */
  constructor(size = 0, levels: readonly (readonly Buffer[])[] = []) {
    this.#size = size
    this.#edges = levels.map((hashes) => {
      const bytes = Buffer.alloc(TILE_BYTES)
      Buffer.concat(hashes).copy(bytes)
      return { bytes, width: hashes.length }
    })
  }

  get size(): number {
    return this.#size
  }

  /** The hashes in each level's partial tile. */
  get levels(): readonly (readonly Buffer[])[] {
    return this.#edges.map((edge) => splitTile(bytesOf(edge)))
  }

  /** Returns the tiles that this entry completes, from the lowest level up. */
  append(entry: Buffer): readonly Tile[] {
    return this.appendHash(hashLeaf(entry))
  }

  appendHash(leaf: Buffer): readonly Tile[] {
    const { bytes, width } = this.#edge(0)
    bytes.set(leaf, width * HASH_BYTES)
    return this.#grow(1)
  }

  /**
   * Appends entries that are encoded as in a bundle, from `start` until a tile is full or no
   * entries are left. Returns the position after the last appended entry, and the tiles that are
   * now full. Temporarily modifies `bytes`. This takes two thirds of the time of `append`.
   */
  appendBundle(bytes: Buffer, start: number): { end: number; filled: readonly Tile[] } {
    const edge = this.#edge(0)
    const room = TILE_WIDTH - edge.width
    // The hashes are joined and written at once, because a write for each takes longer.
    let leaves = ''
    let count = 0
    let end = start
    for (; count < room && end < bytes.length; count++) {
      const entry = end + ENTRY_HEAD_BYTES
      end = entry + bytes.readUInt16BE(end)
      leaves += hashLeafInPlace(bytes, entry, end)
    }
    edge.bytes.write(leaves, edge.width * HASH_BYTES, leaves.length, 'latin1')
    return { end, filled: this.#grow(count) }
  }

  /** Counts leaves that were added to the lowest level, and completes its tile if it is full. */
  #grow(count: number): readonly Tile[] {
    const filled: Tile[] = []
    this.#size += count
    this.#edge(0).width += count
    for (let level = 0; ; level++) {
      const edge = this.#edge(level)
      if (edge.width < TILE_WIDTH) return filled
      filled.push(toTile(level, fullTiles(level, this.#size) - 1, edge.bytes))
      const above = this.#edge(level + 1)
      above.bytes.set(hashPerfectRow(edge.bytes), above.width * HASH_BYTES)
      above.width += 1
      this.#edges[level] = newEdge()
    }
  }

  #edge(level: number): Edge {
    return (this.#edges[level] ??= newEdge())
  }

  /** Returns the current tree's partial tiles. */
  partials(): readonly Tile[] {
    return this.#edges.flatMap((edge, level) =>
      edge.width === 0
        ? []
        : [toTile(level, fullTiles(level, this.#size), Buffer.from(bytesOf(edge)))],
    )
  }

  root(): Buffer {
    // Works from right to left, because the last perfect subtree is the smallest.
    let root: Buffer | undefined
    for (const { bytes, width: all } of this.#edges) {
      let end = all
      while (end > 0) {
        // The lowest set bit of the remaining size is the size of the rightmost perfect subtree.
        const width = end & -end
        const subtree = hashPerfectRow(bytes.subarray((end - width) * HASH_BYTES, end * HASH_BYTES))
        root = root === undefined ? subtree : hashNode(subtree, root)
        end -= width
      }
    }
    return root ?? EMPTY_ROOT
  }
}

function newEdge(): Edge {
  return { bytes: Buffer.alloc(TILE_BYTES), width: 0 }
}

function bytesOf({ bytes, width }: Edge): Buffer {
  return bytes.subarray(0, width * HASH_BYTES)
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
