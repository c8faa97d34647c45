/** Reads the state of a log that another process wrote. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import {
  decodeBundle,
  encodeBundle,
  fullTiles,
  GrowingTree,
  levelsOf,
  partialWidth,
  splitTile,
  tilePath,
} from '../log/tiles.ts'

/** A log's tree, and the encoded bundle that is not full yet, in any number of pieces. */
export interface LogState {
  readonly tree: GrowingTree
  readonly bundle: Buffer[]
}

/**
 * Reads a log's state at a size that its tiles contain, from full tiles or from partial ones that
 * are at least as wide.
 * @throws RangeError if a tile is missing or too short
 */
export function loadState(folder: string, size: number): LogState {
  const levels = Array.from({ length: levelsOf(size) }, (_, level) => {
    const place = { folder, level, index: fullTiles(level, size) }
    return readFirst(place, partialWidth(level, size), splitTile)
  })
  const place = { folder, level: 'entries', index: fullTiles(0, size) } as const
  const bundle = readFirst(place, partialWidth(0, size), (bytes) => decodeBundle(bytes) ?? [])
  const pieces = bundle.length === 0 ? [] : [encodeBundle(bundle)]
  return { tree: new GrowingTree(size, levels), bundle: pieces }
}

/**
 * Removes partial tiles that are narrower than those of a tree whose files are on disk. After a
 * failed sync, their content may be lost, and `loadState` would read them first.
 */
export async function removeNarrower(folder: string, size: number): Promise<void> {
  for (let level = 0; level < levelsOf(size); level++) {
    const width = partialWidth(level, size)
    if (width === 0) continue
    for (const tier of level === 0 ? ([level, 'entries'] as const) : [level]) {
      const partials = `${join(folder, tilePath(tier, fullTiles(level, size)))}.p`
      const names = await readdir(partials)
      const narrower = names.filter((name) => Number(name) < width)
      for (const name of narrower) await rm(join(partials, name), { force: true })
    }
  }
}

interface TilePlace {
  readonly folder: string
  readonly level: number | 'entries'
  readonly index: number
}

/**
 * Returns the first hashes or entries of a tile. Reads the narrowest file first, because it is the
 * oldest: files that were written after the last sync may be empty after a power failure.
 */
function readFirst(
  { folder, level, index }: TilePlace,
  width: number,
  split: (bytes: Buffer) => readonly Buffer[],
): readonly Buffer[] {
  if (width === 0) return []
  const full = join(folder, tilePath(level, index))
  const widths = existsSync(`${full}.p`) ? readdirSync(`${full}.p`).map(Number) : []
  const partials = widths.filter((one) => one >= width).sort((a, b) => a - b)
  const files = partials.map((one) => `${full}.p/${String(one)}`)
  if (existsSync(full)) files.push(full)
  for (const file of files) {
    const parts = split(readFileSync(file))
    if (parts.length >= width) return parts.slice(0, width)
  }
  throw new RangeError('a tile of the log is missing or too short')
}
