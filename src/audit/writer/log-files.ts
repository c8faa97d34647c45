/** Writes the tiles, bundles and checkpoints of one log, and opens what another process left. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdir, open, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { signCheckpoint } from '../../core/tlog/checkpoint.ts'
import type { TreeHead } from '../../core/tlog/merkle.ts'
import type { NoteSigner } from '../../core/tlog/note.ts'
import {
  decodeBundle,
  encodeBundle,
  fullTiles,
  GrowingTree,
  levelsOf,
  partialWidth,
  splitTile,
  TILE_WIDTH,
  tilePath,
} from '../log/tiles.ts'
import { replaceFile } from './durable.ts'

export const CHECKPOINT = 'checkpoint'

/** Asks witnesses for cosignatures. */
export interface Cosign {
  /** Returns whether to publish an earlier checkpoint again because it lacks cosignatures. */
  isDue(): boolean
  /** Returns signature lines, possibly none. Never rejects, and ends within the deadline of the witnesses. */
  ask(checkpoint: string, head: TreeHead): Promise<readonly string[]>
}

/** The tree of a log, and the bundle that is not full yet. */
export interface LogState {
  readonly tree: GrowingTree
  readonly bundle: Buffer[]
}

export class LogFiles {
  readonly #folder: string
  readonly #signer: NoteSigner
  readonly #state: LogState
  /** Full tiles and bundles that are not written yet. */
  readonly #full = new Map<string, Buffer>()
  /** Files and folders that were written and not yet synced. */
  readonly #unsynced = new Set<string>()

  constructor(folder: string, signer: NoteSigner, state: LogState) {
    this.#folder = folder
    this.#signer = signer
    this.#state = state
  }

  get size(): number {
    return this.#state.tree.size
  }

  /** Adds entries to the tree in memory. `publish` writes the files. */
  append(entries: readonly Buffer[]): void {
    const { tree, bundle } = this.#state
    for (const entry of entries) {
      bundle.push(entry)
      const filled = tree.append(entry)
      if (bundle.length === TILE_WIDTH) {
        const path = tilePath('entries', fullTiles(0, tree.size) - 1)
        this.#full.set(path, encodeBundle(bundle.splice(0)))
      }
      for (const { level, index, hashes } of filled) {
        this.#full.set(tilePath(level, index), Buffer.concat(hashes))
      }
    }
  }

  /**
   * Writes every file of the current tree, the checkpoint last. After a failure, the next call
   * writes what is missing.
   * @param cosign adds cosignatures to the checkpoint
   */
  async publish(cosign?: Cosign): Promise<void> {
    const { tree, bundle } = this.#state
    const head = { size: tree.size, root: tree.root() }
    for (const [path, bytes] of this.#full) {
      await this.#write(path, bytes)
      this.#full.delete(path)
      // tlog-tiles allows deleting partial tiles once the full tile exists.
      await rm(`${join(this.#folder, path)}.p`, { recursive: true, force: true })
    }
    if (bundle.length > 0) {
      const path = tilePath('entries', fullTiles(0, tree.size), bundle.length)
      await this.#write(path, encodeBundle(bundle))
    }
    for (const { level, index, hashes } of tree.partials()) {
      await this.#write(tilePath(level, index, hashes.length), Buffer.concat(hashes))
    }
    const signed = signCheckpoint(head, this.#signer)
    const cosignatures = cosign === undefined ? [] : await cosign.ask(signed, head)
    await this.#write(CHECKPOINT, Buffer.from(signed + cosignatures.join('')))
  }

  /** Resolves when everything that was published is on the disk. */
  async sync(): Promise<void> {
    for (const path of this.#unsynced) {
      if (existsSync(path)) await syncPath(path)
    }
    this.#unsynced.clear()
  }

  async #write(path: string, bytes: Buffer): Promise<void> {
    const file = join(this.#folder, path)
    const folder = dirname(file)
    await this.#makeFolder(folder)
    await replaceFile(file, bytes, 0o644)
    this.#unsynced.add(file).add(folder)
  }

  async #makeFolder(folder: string): Promise<void> {
    const first = await mkdir(folder, { recursive: true, mode: 0o755 })
    // Each new folder is an entry of its parent, which must be synced too.
    for (let made = folder; first !== undefined && made !== dirname(first); made = dirname(made)) {
      this.#unsynced.add(dirname(made))
    }
  }
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Reads the state of a log at a size that its tiles have, from full tiles or from partial ones that
 * are at least as wide.
 * @throws RangeError if a tile is missing or too short
 */
export function loadState(folder: string, size: number): LogState {
  const levels = Array.from({ length: levelsOf(size) }, (_, level) => {
    const width = partialWidth(level, size)
    const hashes = splitTile(readAtLeast(folder, level, fullTiles(level, size), width))
    return take(hashes, width)
  })
  const width = partialWidth(0, size)
  const bundle = decodeBundle(readAtLeast(folder, 'entries', fullTiles(0, size), width)) ?? []
  return { tree: new GrowingTree(size, levels), bundle: [...take(bundle, width)] }
}

function take(list: readonly Buffer[], width: number): readonly Buffer[] {
  if (list.length < width) throw new RangeError('a tile of the log is missing or too short')
  return list.slice(0, width)
}

function readAtLeast(
  folder: string,
  level: number | 'entries',
  index: number,
  width: number,
): Buffer {
  if (width === 0) return Buffer.alloc(0)
  const full = join(folder, tilePath(level, index))
  if (existsSync(full)) return readFileSync(full)
  const partials = existsSync(`${full}.p`) ? readdirSync(`${full}.p`).map(Number) : []
  const widest = Math.max(0, ...partials.filter((one) => one >= width))
  return widest === 0 ? Buffer.alloc(0) : readFileSync(`${full}.p/${String(widest)}`)
}
