/** Writes a log's tiles, bundles and checkpoints. */
// SPDX-License-Identifier: Apache-2.0
import { closeSync, existsSync, fsync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { signCheckpoint } from '../../core/tlog/checkpoint.ts'
import type { TreeHead } from '../../core/tlog/merkle.ts'
import type { NoteSigner } from '../../core/tlog/note.ts'
import {
  encodeBundle,
  ENTRY_HEAD_BYTES,
  fullTiles,
  levelsOf,
  partialWidth,
  TILE_WIDTH,
  tilePath,
} from '../log/tiles.ts'
import { replaceFile, replaceFileNow, replaceSynced } from './durable.ts'
import type { LogState } from './log-state.ts'

export const CHECKPOINT = 'checkpoint'
/** Number of files to sync at once: the size of Node's thread pool, which shares transactions. */
const SYNCS_AT_ONCE = 4

/** Asks witnesses for cosignatures. */
export interface Cosign {
  /** Reports whether to republish an earlier checkpoint because it lacks cosignatures. */
  isDue(): boolean
  /**
   * Returns zero or more signature lines. Never rejects, and finishes within the witnesses'
   * deadline.
   */
  ask(checkpoint: string, head: TreeHead): Promise<readonly string[]>
}

/** Files and directories that were written before a tree was published and are not synced yet. */
interface Unsynced {
  readonly paths: Set<string>
  readonly size: number
}

interface LogFile {
  /** Relative to the log's directory. */
  readonly path: string
  readonly bytes: Buffer
}

/**
 * Methods whose names end with `Now`, and `writeFull`, block the calling thread, so they must never
 * run on the event loop.
 */
export class LogFiles {
  readonly #folder: string
  readonly #signer: NoteSigner
  readonly #state: LogState
  /** Full tiles and bundles that have not been written yet. */
  readonly #full = new Map<string, Buffer>()
  /** Files and directories that were written after the last `mark`. */
  #unsynced = new Set<string>()
  /** Groups of files that `mark` has closed, oldest first. */
  readonly #marked: Unsynced[] = []
  /** Tree size of the last checkpoint. */
  #published: number
  /** Tree size up to which all files are on disk. */
  #synced: number
  /** Full tiles whose partial tiles are kept for now, because a recovery may need them. */
  readonly #replaced = new Set<string>()

  constructor(folder: string, signer: NoteSigner, state: LogState) {
    this.#folder = folder
    this.#signer = signer
    this.#state = state
    this.#published = state.tree.size
    this.#synced = state.tree.size
  }

  get size(): number {
    return this.#state.tree.size
  }

  /** Adds entries to the tree in memory. The other methods write the files. */
  append(entries: readonly Buffer[]): void {
    this.appendBundle(encodeBundle(entries))
  }

  /** Adds any number of entries, encoded as in a bundle. Keeps no reference to `bytes`. */
  appendBundle(bytes: Buffer): void {
    const { tree, bundle } = this.#state
    let first = 0
    for (let at = 0; at < bytes.length;) {
      const start = at + ENTRY_HEAD_BYTES
      at = start + bytes.readUInt16BE(at)
      const filled = tree.append(bytes.subarray(start, at))
      if (tree.size % TILE_WIDTH !== 0) continue
      const whole = Buffer.concat([...bundle.splice(0), bytes.subarray(first, at)])
      first = at
      this.#full.set(tilePath('entries', fullTiles(0, tree.size) - 1), whole)
      for (const { level, index, hashes } of filled) {
        this.#full.set(tilePath(level, index), Buffer.concat(hashes))
      }
    }
    if (first < bytes.length) bundle.push(Buffer.from(bytes.subarray(first)))
  }

  /**
   * Writes all files of the current tree, the checkpoint last, and resolves once they are on disk. A
   * power failure leaves a checkpoint whose tiles are intact. After a failure, the next call writes
   * what is missing.
   * @param cosign adds cosignatures to the checkpoint
   */
  async publish(cosign?: Cosign): Promise<void> {
    const { tree } = this.#state
    const head = { size: tree.size, root: tree.root() }
    const partials = this.#partials()
    for (const [path, bytes] of this.#full) {
      await this.#write({ path, bytes })
      this.#full.delete(path)
      const partial = this.#toRemove(path)
      if (partial !== undefined) await rm(partial, { recursive: true, force: true })
    }
    for (const file of partials) await this.#write(file)
    this.#markAt(head.size)
    await this.#syncMarked()
    const signed = signCheckpoint(head, this.#signer)
    const cosignatures = cosign === undefined ? [] : await cosign.ask(signed, head)
    const text = signed + cosignatures.join('')
    await replaceSynced(join(this.#folder, CHECKPOINT), text, 0o644)
    this.#published = head.size
  }

  /** Works like `publish`, but without cosignatures, and without waiting for the disk. */
  publishNow(): void {
    const { tree } = this.#state
    this.writeFull()
    for (const file of this.#partials()) this.#writeNow(file)
    const signed = signCheckpoint({ size: tree.size, root: tree.root() }, this.#signer)
    this.#writeNow({ path: CHECKPOINT, bytes: Buffer.from(signed) })
    this.#published = tree.size
  }

  /** Writes the full tiles and bundles. After a failure, the next call writes what is missing. */
  writeFull(): void {
    for (const [path, bytes] of this.#full) {
      this.#writeNow({ path, bytes })
      this.#full.delete(path)
      const partial = this.#toRemove(path)
      if (partial !== undefined) rmSync(partial, { recursive: true, force: true })
    }
  }

  /**
   * Returns the directory of partial tiles, if any, that can be removed because their full tile is
   * written, as tlog-tiles allows. A power failure can lose a full tile that is not synced, so the
   * partial tiles of a tree from which the next recovery may start are kept until then.
   */
  #toRemove(path: string): string | undefined {
    const partial = this.#partialsOf(path)
    if (!existsSync(partial)) return undefined
    if (!this.#isNeeded(path)) return partial
    this.#replaced.add(path)
    return undefined
  }

  #partialsOf(path: string): string {
    return `${join(this.#folder, path)}.p`
  }

  #isNeeded(path: string): boolean {
    const sizes = [this.#synced, ...this.#marked.map(({ size }) => size)]
    return sizes.some((size) => partialTiles(size).has(path))
  }

  /** Closes the current group of files, which `syncOldest` will sync, and starts a new one. */
  mark(): void {
    this.#markAt(this.#published)
  }

  #markAt(size: number): void {
    this.#marked.push({ paths: this.#unsynced, size })
    this.#unsynced = new Set()
  }

  /**
   * Syncs the oldest group that `mark` has closed, and removes the partial tiles that were kept
   * until then. Returns the size of the tree that is now on disk. After a failure, the next call
   * syncs what is missing.
   */
  async syncOldest(): Promise<number> {
    const [oldest] = this.#marked
    if (oldest === undefined) return this.#synced
    const { paths, size } = oldest
    const waiting = [...paths]
    while (waiting.length > 0) {
      const some = waiting.splice(0, SYNCS_AT_ONCE)
      await Promise.all(some.map(syncPath))
      for (const path of some) paths.delete(path)
    }
    this.#marked.shift()
    this.#synced = size
    for (const path of this.#replaced) {
      if (this.#isNeeded(path)) continue
      await rm(this.#partialsOf(path), { recursive: true, force: true })
      this.#replaced.delete(path)
    }
    return size
  }

  /** Resolves once everything that was published before the call is on disk. */
  async sync(): Promise<void> {
    this.mark()
    await this.#syncMarked()
  }

  async #syncMarked(): Promise<void> {
    while (this.#marked.length > 0) await this.syncOldest()
  }

  #partials(): readonly LogFile[] {
    const { tree, bundle } = this.#state
    const tiles = tree.partials().map(({ level, index, hashes }) => ({
      path: tilePath(level, index, hashes.length),
      bytes: Buffer.concat(hashes),
    }))
    if (bundle.length === 0) return tiles
    const path = tilePath('entries', fullTiles(0, tree.size), partialWidth(0, tree.size))
    return [{ path, bytes: Buffer.concat(bundle) }, ...tiles]
  }

  /**
   * Writes a file, unless it already contains these bytes. Replacing a synced file would put it at
   * risk: after a power failure, a replacement that was not synced may be empty.
   */
  async #write({ path, bytes }: LogFile): Promise<void> {
    const file = join(this.#folder, path)
    const folder = dirname(file)
    this.#noteMade(folder, await mkdir(folder, { recursive: true, mode: 0o755 }))
    const before = await readFile(file).catch(() => undefined)
    if (before?.equals(bytes) !== true) await replaceFile(file, bytes, 0o644)
    this.#unsynced.add(file).add(folder)
  }

  /** Works like `#write`, but blocks the calling thread. */
  #writeNow({ path, bytes }: LogFile): void {
    const file = join(this.#folder, path)
    const folder = dirname(file)
    if (!existsSync(folder)) {
      this.#noteMade(folder, mkdirSync(folder, { recursive: true, mode: 0o755 }))
    }
    const isSame = existsSync(file) && readFileSync(file).equals(bytes)
    if (!isSame) replaceFileNow(file, bytes, 0o644)
    this.#unsynced.add(file).add(folder)
  }

  /** Each new directory is an entry in its parent, which must be synced too. */
  #noteMade(folder: string, first: string | undefined): void {
    for (let made = folder; first !== undefined && made !== dirname(first); made = dirname(made)) {
      this.#unsynced.add(dirname(made))
    }
  }
}

const syncFile = promisify(fsync)

/** Syncs a file or directory, unless it has been removed in the meantime. */
async function syncPath(path: string): Promise<void> {
  const fd = openIfPresent(path)
  if (fd === undefined) return
  try {
    // Only this call waits for the disk. Opening and closing the file asynchronously would take two
    // more turns of the thread pool.
    await syncFile(fd)
  } finally {
    closeSync(fd)
  }
}

function openIfPresent(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/**
 * For a tree of this size, returns the paths that its partial tiles will have once they are full.
 */
function partialTiles(size: number): ReadonlySet<string> {
  const paths = new Set<string>()
  for (let level = 0; level < levelsOf(size); level++) {
    if (partialWidth(level, size) === 0) continue
    paths.add(tilePath(level, fullTiles(level, size)))
    if (level === 0) paths.add(tilePath('entries', fullTiles(level, size)))
  }
  return paths
}
