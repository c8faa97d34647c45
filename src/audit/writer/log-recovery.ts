/** Completes the logs of processes that exited without closing them. */
// SPDX-License-Identifier: Apache-2.0
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseCheckpoint } from '../../core/tlog/checkpoint.ts'
import { type NoteSigner, parseNote } from '../../core/tlog/note.ts'
import { invalidLog } from '../errors.ts'
import { encodeMark } from '../record.ts'
import { writeSynced } from './durable.ts'
import { CHECKPOINT, LogFiles } from './log-files.ts'
import {
  closeLogFolder,
  type DeriveSeed,
  isGone,
  isOpenLog,
  listLogs,
  type Owner,
  ownerOf,
  readCertificate,
  readOwner,
  signerOf,
} from './log-folder.ts'
import { loadState } from './log-state.ts'
import type { PublishedHead } from './protocol.ts'
import type { Disk } from './unsynced-files.ts'
import { readWal, removeWal } from './wal-recovery.ts'

const RECOVERY = 'recovery.lock'

export interface RecoveredLog extends PublishedHead {
  readonly folder: string
  readonly origin: string
  /** Number of entries that were only in the write-ahead log. */
  readonly entries: number
  /** Number of bytes from an interrupted write, which was never reported as durable. */
  readonly discardedBytes: number
}

export interface RecoveryOptions {
  /** Directory that holds all logs. */
  readonly root: string
  readonly host: string
  readonly derive: DeriveSeed
  /** Called for a log that cannot be recovered now. The next start tries again. */
  readonly onFailed: (folder: string, error: unknown) => void
}

/**
 * Recovers this host's logs whose process has exited: moves entries from the write-ahead log into
 * tiles, and appends an entry that records the recovery.
 */
export async function recoverLogs(options: RecoveryOptions): Promise<readonly RecoveredLog[]> {
  const recovered: RecoveredLog[] = []
  for (const logId of await listLogs(options.root)) {
    const folder = join(options.root, logId)
    try {
      const log = await recoverIfGone(folder, options)
      if (log !== undefined) recovered.push(log)
      // All entries of a closed log are in synced tiles. An earlier recovery may have ended before
      // it removed every segment.
      if (!isOpenLog(folder)) await removeWal(folder)
    } catch (error) {
      options.onFailed(folder, error)
    }
  }
  return recovered
}

async function recoverIfGone(
  folder: string,
  { host, derive }: RecoveryOptions,
): Promise<RecoveredLog | undefined> {
  const owner = await readOwner(folder)
  if (owner === undefined || !isGone(owner, host) || !(await lock(folder, host))) return undefined
  try {
    // Another process may have closed the log just before this one took the lock.
    return isOpenLog(folder) ? await recoverLog(folder, derive) : undefined
  } finally {
    await rm(join(folder, RECOVERY), { force: true })
  }
}

/** Returns false while another process is recovering the same log. */
async function lock(folder: string, host: string): Promise<boolean> {
  const path = join(folder, RECOVERY)
  const take = () => writeSynced(path, `${JSON.stringify(ownerOf(host, process.pid))}\n`)
  try {
    await take()
  } catch {
    const text = await readFile(path, 'utf8').catch(() => '')
    if (text === '' || !isGone(JSON.parse(text) as Owner, host)) return false
    await rm(path, { force: true })
    // If two processes find the same stale lock, one of them fails here and leaves the log to the
    // other.
    await take()
  }
  return true
}

async function recoverLog(folder: string, derive: DeriveSeed): Promise<RecoveredLog> {
  const { origin } = (await readCertificate(folder)).statement
  const wal = readWal(folder)
  const { entries, discardedBytes } = wal
  const note = parseNote(await readFile(join(folder, CHECKPOINT), 'utf8').catch(() => ''))
  const size = wal.start ?? (note && parseCheckpoint(note.text))?.size ?? 0
  const state = loadState(folder, size)
  // The process may have exited because a sync failed.
  const files = new LogFiles(folder, signerOf(derive, origin), state, { rewrites: true })
  // If a recovery crashes, the next one must produce the same tree. The recovery entry therefore
  // carries no time, nothing is appended unless there is a write-ahead log, and no segment is
  // removed until the log is closed.
  if (wal.start !== undefined) {
    const mark = encodeMark('recovered', { entries: entries.length, discardedBytes })
    files.append([...entries, Buffer.from(mark)])
    await files.publish()
  }
  await closeLogFolder(folder)
  const { tree } = state
  return {
    ...{ folder, origin, entries: entries.length, discardedBytes },
    ...{ size: tree.size, root: tree.root().toString('base64') },
  }
}

export interface OpenLogFiles {
  readonly folder: string
  readonly signer: NoteSigner
  /** Number of entries in the log. */
  readonly end: number
  readonly disk?: Disk
}

/**
 * Loads an open log after a sync failed, from the last synced tiles and the write-ahead log. Blocks
 * the calling thread.
 * @throws AuditError AUDIT_INVALID, a system error
 */
export function reloadFiles({ folder, signer, end, disk }: OpenLogFiles): LogFiles {
  const { start = 0, entries } = readWal(folder)
  if (start + entries.length !== end) {
    throw invalidLog(folder, 'entries are missing from the write-ahead log')
  }
  const options = { rewrites: true, removesLost: true, disk }
  const files = new LogFiles(folder, signer, loadState(folder, start), options)
  files.append(entries)
  return files
}
