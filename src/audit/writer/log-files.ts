/** Writes a log's tiles, bundles and checkpoints. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { mkdir, readFile, rm } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { signCheckpoint } from '../../core/tlog/checkpoint.ts'
import type { TreeHead } from '../../core/tlog/merkle.ts'
import type { NoteSigner } from '../../core/tlog/note.ts'
import {
  encodeBundle,
  fullTiles,
  type GrowingTree,
  partialTiles,
  partialWidth,
  tilePath,
  toFullPath,
} from '../log/tiles.ts'
import { createFileNow, replaceFile, replaceFileNow, replaceSynced } from './durable.ts'
import { type LogState, removeNarrower } from './log-state.ts'
import { OpenBundle } from './open-bundle.ts'
import { type Disk, systemDisk, UnsyncedFiles } from './unsynced-files.ts'

export const CHECKPOINT = 'checkpoint'
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

interface LogFile {
  /** Relative to the log's directory. */
  readonly path: string
  readonly bytes: Buffer
}

export interface LogFilesOptions {
  /**
   * Rewrites files even if they seem to be correct. Set if a sync may have failed, because the
   * kernel can then return data that never reached the disk.
   */
  readonly rewrites?: boolean
  /** Removes partial tiles that a failed sync may have lost, once a wider one is on disk. */
  readonly removesLost?: boolean
  readonly disk?: Disk | undefined
}

/**
 * Methods whose names end with `Now`, and `writeFull`, block the calling thread, so they must never
 * run on the event loop.
 */
export class LogFiles {
  readonly #folder: string
  readonly #signer: NoteSigner
  readonly #tree: GrowingTree
  readonly #bundle: OpenBundle
  /** Full tiles and bundles that have not been written yet. */
  readonly #full = new Map<string, Buffer>()
  readonly #unsynced: UnsyncedFiles
  /** Tree size of the last checkpoint. */
  #published: number
  /** Full tiles whose partial ones are kept until they are no longer needed. */
  readonly #replaced = new Set<string>()
  #rewrites: boolean
  #removesLost: boolean

  constructor(folder: string, signer: NoteSigner, state: LogState, options: LogFilesOptions = {}) {
    this.#folder = folder
    this.#signer = signer
    this.#tree = state.tree
    this.#bundle = new OpenBundle(state.bundle)
    this.#published = state.tree.size
    this.#unsynced = new UnsyncedFiles(state.tree.size, options.disk ?? systemDisk)
    this.#rewrites = options.rewrites === true
    this.#removesLost = options.removesLost === true
  }

  get size(): number {
    return this.#tree.size
  }

  root(): Buffer {
    return this.#tree.root()
  }

  /**
   * Set once a sync has failed. Files may then be lost, so `publish`, `publishNow` and `sync` also
   * fail. The log must be loaded from its last synced state, and written with `rewrites`.
   */
  get syncFailure(): Error | undefined {
    return this.#unsynced.failure
  }

  /** Adds entries to the tree in memory. The other methods write the files. */
  append(entries: readonly Buffer[]): void {
    this.appendBundle(encodeBundle(entries))
  }

  /**
   * Adds any number of entries, encoded as in a bundle. Temporarily modifies `bytes`, and keeps no
   * reference to it.
   */
  appendBundle(bytes: Buffer): void {
    for (let start = 0; start < bytes.length;) {
      const { end, filled } = this.#tree.appendBundle(bytes, start)
      this.#bundle.add(bytes.subarray(start, end))
      start = end
      for (const { level, index, bytes: hashes } of filled) {
        if (level === 0) this.#full.set(tilePath('entries', index), this.#bundle.take())
        this.#full.set(tilePath(level, index), hashes)
      }
    }
  }

  /**
   * Writes all files of the current tree, the checkpoint last, and resolves once they are on disk.
   * After a power failure, the checkpoint's tiles are intact. If the call fails, the next one
   * writes what is missing, unless `syncFailure` is set.
   * @param cosign adds cosignatures to the checkpoint
   */
  async publish(cosign?: Cosign): Promise<void> {
    this.#requireFiles()
    const head = { size: this.#tree.size, root: this.#tree.root() }
    const partials = this.#partials()
    for (const [path, bytes] of this.#full) {
      await this.#write({ path, bytes })
      this.#full.delete(path)
      const partial = this.#toRemove(path)
      if (partial !== undefined) await rm(partial, { recursive: true, force: true })
    }
    for (const file of partials) await this.#write(file)
    this.#unsynced.mark(head.size)
    await this.#syncMarked()
    const signed = signCheckpoint(head, this.#signer)
    const cosignatures = cosign === undefined ? [] : await cosign.ask(signed, head)
    const text = signed + cosignatures.join('')
    await replaceSynced(join(this.#folder, CHECKPOINT), text, 0o644)
    this.#published = head.size
  }

  /** Works like `publish`, but without cosignatures, and without waiting for the disk. */
  publishNow(): void {
    this.#requireFiles()
    this.writeFull()
    for (const file of this.#partials()) this.#writeNow(file)
    const { size } = this.#tree
    const signed = signCheckpoint({ size, root: this.#tree.root() }, this.#signer)
    this.#writeNow({ path: CHECKPOINT, bytes: Buffer.from(signed) })
    this.#published = size
  }

  #requireFiles(): void {
    if (this.syncFailure !== undefined) throw this.syncFailure
  }

  /** Writes the full tiles and bundles. After a failure, the next call writes what is missing. */
  writeFull(): void {
    for (const [path, bytes] of this.#full) {
      this.#createNow({ path, bytes })
      this.#full.delete(path)
      this.#bundle.release(bytes)
      const partial = this.#toRemove(path)
      if (partial !== undefined) rmSync(partial, { recursive: true, force: true })
    }
  }

  /**
   * Returns the directory of partial tiles, if any, that can be removed because their full tile has
   * been written, as tlog-tiles allows. A power failure can lose a full tile that is not synced, so
   * partial tiles that the next recovery may need are kept until the full tile is synced.
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
    return this.#unsynced.sizes().some((size) => partialTiles(size).has(path))
  }

  /** Closes the current group of files, which `syncOldest` will sync, and starts a new one. */
  mark(): void {
    this.#unsynced.mark(this.#published)
  }

  /**
   * Syncs the oldest group that `mark` has closed, and removes partial tiles that are no longer
   * needed. Returns the size of the tree that is now on disk. If a file cannot be opened, the next
   * call syncs what is missing.
   */
  async syncOldest(): Promise<number> {
    const size = await this.#unsynced.syncOldest()
    for (const path of this.#replaced) {
      if (this.#isNeeded(path)) continue
      await rm(this.#partialsOf(path), { recursive: true, force: true })
      this.#replaced.delete(path)
    }
    // The first group has everything that had to be written again.
    this.#rewrites = false
    if (this.#removesLost) await removeNarrower(this.#folder, size)
    this.#removesLost = false
    return size
  }

  /** Resolves once everything that was published before the call is on disk. */
  async sync(): Promise<void> {
    this.mark()
    await this.#syncMarked()
  }

  async #syncMarked(): Promise<void> {
    while (this.#unsynced.hasMarked) await this.syncOldest()
  }

  #partials(): readonly LogFile[] {
    const { size } = this.#tree
    const tiles = this.#tree.partials().map(({ level, index, bytes }) => ({
      path: tilePath(level, index, partialWidth(level, size)),
      bytes,
    }))
    const { bytes } = this.#bundle
    if (bytes.length === 0) return tiles
    return [
      { path: tilePath('entries', fullTiles(0, size), partialWidth(0, size)), bytes },
      ...tiles,
    ]
  }

  /**
   * Writes a file, unless it has these bytes already. Replacing a synced file with the same bytes
   * would put it at risk: after a power failure, a replacement that was not synced may be empty.
   * So if such a file has to be written again, the replacement is synced first.
   */
  async #write({ path, bytes }: LogFile): Promise<void> {
    const file = join(this.#folder, path)
    const made = await mkdir(dirname(file), { recursive: true, mode: 0o755 })
    this.#noteWritten(path, made !== undefined)
    const before = await readFile(file).catch(() => undefined)
    const isSame = before?.equals(bytes) === true
    if (isSame && !this.#rewrites) return
    const replace = isSame && this.#isNeeded(toFullPath(path)) ? replaceSynced : replaceFile
    await replace(file, bytes, 0o644)
  }

  /** Works like `#write`, but blocks the calling thread. */
  #writeNow({ path, bytes }: LogFile): void {
    const file = join(this.#folder, path)
    const folder = dirname(file)
    const isNew = !existsSync(folder)
    if (isNew) mkdirSync(folder, { recursive: true, mode: 0o755 })
    this.#noteWritten(path, isNew)
    const isSame = existsSync(file) && readFileSync(file).equals(bytes)
    if (isSame && !this.#rewrites) return
    const isKept = isSame && this.#isNeeded(toFullPath(path))
    replaceFileNow(file, bytes, isKept ? this.#unsynced.syncNow : undefined)
  }

  /**
   * Writes a full tile or bundle, usually without a temporary file, because readers do not need the
   * tile or bundle before the next checkpoint.
   */
  #createNow(full: LogFile): void {
    try {
      createFileNow(join(this.#folder, full.path), full.bytes)
      this.#noteWritten(full.path, false)
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      if (code !== 'EEXIST' && code !== 'ENOENT') throw error
      this.#writeNow(full)
    }
  }

  /**
   * Each new directory is an entry in its parent, which must be synced too. After a failed sync, the
   * names of older directories may also be lost.
   */
  #noteWritten(path: string, isFolderNew: boolean): void {
    this.#unsynced.add(join(this.#folder, path))
    let folder = dirname(path)
    this.#unsynced.add(join(this.#folder, folder))
    if (!isFolderNew && !this.#rewrites) return
    while (folder !== '.') {
      folder = dirname(folder)
      this.#unsynced.add(join(this.#folder, folder))
    }
  }
}
