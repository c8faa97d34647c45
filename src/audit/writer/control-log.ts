/**
 * Publishes the control log: writes the store's events as a log, next to the processes' logs. Every
 * `serve` process publishes to its own directory; all of them write the same log.
 */
// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import type { Signed } from '../../core/signature.ts'
import { openCheckpoint, parseCheckpoint } from '../../core/tlog/checkpoint.ts'
import type { LogCertificate } from '../../core/tlog/evidence.ts'
import type { TreeHead } from '../../core/tlog/merkle.ts'
import { type NoteSigner, parseNote, parseVerifierKey } from '../../core/tlog/note.ts'
import { GrowingTree } from '../log/tiles.ts'
import { CHECKPOINT, type Cosign, LogFiles } from './log-files.ts'
import { writeSynced } from './durable.ts'
import { CERTIFICATE, CONTROL_LOG, VERIFIER_KEY } from './log-folder.ts'
import { loadState, type LogState } from './log-state.ts'
import type { Disk } from './unsynced-files.ts'

export interface ControlLogSource {
  readonly signer: NoteSigner
  readonly certificate: Signed<LogCertificate>
  /**
   * Returns the log's head and the entries starting at an index. If the log is shorter, returns no
   * entries.
   */
  readonly read: (after: number) => Promise<{ head: TreeHead; entries: readonly Buffer[] }>
}

export interface ControlLogOptions extends ControlLogSource {
  /** Directory that holds all logs. */
  readonly root: string
  /** Asks witnesses to cosign a checkpoint that is about to be published. */
  readonly cosign?: Cosign | undefined
  readonly disk?: Disk
  /**
   * Called with the path of the renamed directory, if the directory's history differs from the
   * store's.
   */
  readonly onForked: (folder: string) => void
}

export interface ControlLogPublisher {
  /**
   * Writes the events added since the last call.
   * @throws a system error, StorageError
   */
  publish(): Promise<void>
  /** Number of entries published; undefined before the first call. */
  readonly size: number | undefined
}

export function createControlLogPublisher(options: ControlLogOptions): ControlLogPublisher {
  const { root, signer, certificate, read, cosign, onForked, disk } = options
  const folder = join(root, CONTROL_LOG)
  let state: LogState | undefined
  let files: LogFiles | undefined
  let published: number | undefined

  async function open(): Promise<LogState> {
    await mkdir(folder, { recursive: true, mode: 0o750 })
    const texts = [
      [CERTIFICATE, JSON.stringify(certificate)],
      [VERIFIER_KEY, signer.verifierKey],
    ] as const
    for (const [name, text] of texts) {
      const path = join(folder, name)
      if (!existsSync(path)) await writeSynced(path, `${text}\n`)
    }
    const empty = { tree: new GrowingTree(), bundle: [] }
    const signed = await readFile(join(folder, CHECKPOINT), 'utf8').catch(() => undefined)
    if (signed === undefined) return empty
    const key = parseVerifierKey(signer.verifierKey)
    const head = key && openCheckpoint(signed, key)
    if (head === undefined) return moveAside()
    const loaded = loadState(folder, head.size)
    return loaded.tree.root().equals(head.root) ? loaded : moveAside()
  }

  /** Renames the published log to keep it as evidence. */
  async function moveAside(): Promise<LogState> {
    const text = await readFile(join(folder, CHECKPOINT), 'utf8').catch(() => '')
    const note = parseNote(text)
    const head = note && parseCheckpoint(note.text)
    const name = head ? `${String(head.size)}-${head.root.toString('hex', 0, 4)}` : 'damaged'
    const kept = join(root, `${CONTROL_LOG}-${name}`)
    await rename(folder, kept)
    onForked(kept)
    return open()
  }

  async function update(): Promise<LogState> {
    const known = state ?? (await open())
    const { head, entries } = await read(known.tree.size)
    const next = new GrowingTree(known.tree.size, known.tree.levels)
    for (const entry of entries) next.append(entry)
    // Either the store was replaced by an older copy, or the directory was replaced by that of
    // another store.
    const isForked = next.size !== head.size || !next.root().equals(head.root)
    if (isForked) {
      files = undefined
      state = await moveAside()
      return update()
    }
    // An earlier sync, perhaps by another process, may have failed.
    files ??= new LogFiles(folder, signer, known, { rewrites: true, disk })
    files.append(entries)
    return known
  }

  return {
    async publish() {
      state = await update()
      if (published === state.tree.size && cosign?.isDue() !== true) return
      try {
        await files?.publish(cosign)
      } catch (error) {
        // The tiles of the last checkpoint are on disk. The next call continues from there.
        if (files?.syncFailure !== undefined) files = state = undefined
        throw error
      }
      published = state.tree.size
    },
    get size() {
      return published
    },
  }
}
