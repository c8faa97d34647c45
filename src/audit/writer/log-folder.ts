/**
 * Manages the folder of one log: its owner, the certificate of its key, and recovery after a
 * process that did not close it.
 */
// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs'
import { access, lstat, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Signed, Signer } from '../../core/signature.ts'
import { AuditError } from '../errors.ts'
import { parseCheckpoint } from '../../core/tlog/checkpoint.ts'
import type { LogCertificate } from '../../core/tlog/evidence.ts'
import { createNoteSigner, type NoteSigner, parseNote } from '../../core/tlog/note.ts'
import { encodeMark } from '../record.ts'
import { CHECKPOINT, LogFiles, loadState } from './log-files.ts'
import type { PublishedHead } from './protocol.ts'
import { syncFolder, writeSynced } from './durable.ts'
import { readWal, removeWal } from './wal.ts'

const OWNER = 'owner.json'
export const CERTIFICATE = 'certificate.json'
/** The verifier key as a file, which other tools read. */
export const VERIFIER_KEY = 'log.vkey'
/**
 * Control log folder, next to the processes' folders. Folders that begin with this name keep
 * an earlier history of it.
 */
export const CONTROL_LOG = 'control'
const RECOVERY = 'recovery.lock'

/** Certificate of a process's log. */
export interface ProcessCertificate extends LogCertificate {
  readonly kind: 'audit log'
  readonly host: string
  readonly pid: number
  readonly worker: number
  readonly version: string
  /** ISO 8601, UTC. */
  readonly startedAt: string
}

/** A certificate of either kind. Only a process has a host. */
export type AnyCertificate = LogCertificate & Partial<Pick<ProcessCertificate, 'host'>>

/** Derives the private key of a log from the store's key. It is never written to disk. */
export type DeriveSeed = (purpose: string) => Buffer

export function originOf(storeId: string, logId: string): string {
  return `latchkey/${storeId}/audit/${logId}`
}

export function deriveLogSeed(derive: DeriveSeed, origin: string): Buffer {
  return derive(`audit log ${origin}`)
}

function signerOf(derive: DeriveSeed, origin: string): NoteSigner {
  const seed = deriveLogSeed(derive, origin)
  const signer = createNoteSigner(origin, seed)
  seed.fill(0)
  return signer
}

/** Identifies a process even after its number was given to another one. */
interface Owner {
  readonly host: string
  readonly pid: number
  readonly boot: string
  readonly started: string
}

function ownerOf(host: string, pid: number): Owner {
  return { host, pid, boot: readSystem('/proc/sys/kernel/random/boot_id'), started: startOf(pid) }
}

/** Ticks since the start of the system; empty where there is no /proc or no such process. */
function startOf(pid: number): string {
  const stat = readSystem(`/proc/${String(pid)}/stat`)
  // The name of the program is in parentheses and may hold spaces.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}

function readSystem(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}

/** Reports whether the process has certainly ended. A process of another host counts as running. */
function isGone(owner: Owner, host: string): boolean {
  if (owner.host !== host) return false
  const now = ownerOf(host, owner.pid)
  if (now.boot !== owner.boot) return true
  if (now.boot !== '') return now.started !== owner.started
  try {
    process.kill(owner.pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

export interface NewLog {
  readonly folder: string
  readonly certificate: ProcessCertificate
}

export interface NewLogOptions extends Omit<ProcessCertificate, 'kind' | 'origin' | 'verifierKey'> {
  /** Folder that holds all logs. */
  readonly root: string
  readonly logId: string
  readonly derive: DeriveSeed
  readonly certify: Signer
}

/** Creates the folder of a log with its certificate. @throws AuditError AUDIT_UNWRITABLE */
export async function createLogFolder(options: NewLogOptions): Promise<NewLog> {
  const { root, logId, derive, certify, ...facts } = options
  const origin = originOf(facts.storeId, logId)
  const { verifierKey } = signerOf(derive, origin)
  const certificate: ProcessCertificate = { kind: 'audit log', origin, verifierKey, ...facts }
  const folder = join(root, logId)
  try {
    await mkdir(root, { recursive: true, mode: 0o750 })
    await mkdir(folder, { mode: 0o750 })
    // The owner comes first: a folder without one counts as closed.
    await writeSynced(join(folder, OWNER), `${JSON.stringify(ownerOf(facts.host, facts.pid))}\n`)
    await writeSynced(join(folder, CERTIFICATE), `${JSON.stringify(certify.sign(certificate))}\n`)
    await writeSynced(join(folder, VERIFIER_KEY), `${verifierKey}\n`)
    syncFolder(folder)
    syncFolder(root)
  } catch (cause) {
    throw unwritable(folder, cause)
  }
  return { folder, certificate }
}

function unwritable(folder: string, cause: unknown): AuditError {
  const why = cause instanceof Error ? cause.message : String(cause)
  return new AuditError('AUDIT_UNWRITABLE', `${folder}: the audit log cannot be written: ${why}`, {
    ...{ cause, hint: 'make audit.folder a folder that this user can write to' },
  })
}

/** Marks a log as closed by its process. */
export async function closeLogFolder(folder: string): Promise<void> {
  await rm(join(folder, OWNER), { force: true })
  syncFolder(folder)
}

/** Reports whether a process writes the log, or ended without closing it. */
export function isOpenLog(folder: string): boolean {
  return existsSync(join(folder, OWNER))
}

/** @throws AuditError AUDIT_INVALID */
export async function readCertificate(folder: string): Promise<Signed<AnyCertificate>> {
  const text = await readFile(join(folder, CERTIFICATE), 'utf8').catch(() => '')
  try {
    const signed = JSON.parse(text) as Signed<AnyCertificate>
    if (typeof signed.statement.verifierKey === 'string') return signed
  } catch {
    // The error below reports the problem.
  }
  throw new AuditError('AUDIT_INVALID', `${folder}: ${CERTIFICATE} is missing or not a certificate`)
}

/** Names of the logs in a folder, oldest first. A server calls it too, so no call blocks the event loop. */
export async function listLogs(root: string): Promise<readonly string[]> {
  const entries = await readdir(root, { withFileTypes: true }).catch(() => [])
  const names: string[] = []
  for (const one of entries) {
    if (one.isDirectory() && (await hasCertificate(root, one.name))) names.push(one.name)
  }
  return names.sort()
}

/** Returns whether `listLogs` has this name, which a stranger may have chosen. */
export async function isLog(root: string, name: string): Promise<boolean> {
  if (['', '.', '..'].includes(name) || /[/\\\0]/.test(name)) return false
  const found = await lstat(join(root, name)).catch(() => undefined)
  return found?.isDirectory() === true && (await hasCertificate(root, name))
}

function hasCertificate(root: string, name: string): Promise<boolean> {
  return access(join(root, name, CERTIFICATE)).then(
    () => true,
    () => false,
  )
}

/** Names of the process logs, oldest first. */
export async function listProcessLogs(root: string): Promise<readonly string[]> {
  return (await listLogs(root)).filter((name) => !name.startsWith(CONTROL_LOG))
}

export interface RecoveredLog extends PublishedHead {
  readonly folder: string
  readonly origin: string
  /** Number of entries that were only in the write-ahead log. */
  readonly entries: number
  /** Bytes of an interrupted write, which was therefore never reported as durable. */
  readonly discardedBytes: number
}

export interface RecoveryOptions {
  /** Folder that holds all logs. */
  readonly root: string
  readonly host: string
  readonly derive: DeriveSeed
  /** Called for a log that cannot be recovered now. The next start tries again. */
  readonly onFailed: (folder: string, error: unknown) => void
}

/**
 * Completes the logs of this host whose process is gone: moves entries from the write-ahead log
 * into tiles, and appends an entry that records the recovery.
 */
export async function recoverLogs(options: RecoveryOptions): Promise<readonly RecoveredLog[]> {
  const recovered: RecoveredLog[] = []
  for (const logId of await listLogs(options.root)) {
    const folder = join(options.root, logId)
    try {
      const log = await recoverIfGone(folder, options)
      if (log !== undefined) recovered.push(log)
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
    return await recoverLog(folder, derive)
  } finally {
    await rm(join(folder, RECOVERY), { force: true })
  }
}

async function readOwner(folder: string): Promise<Owner | undefined> {
  const text = await readFile(join(folder, OWNER), 'utf8').catch(() => undefined)
  return text === undefined ? undefined : (JSON.parse(text) as Owner)
}

/** Returns false while another process recovers the same log. */
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
  const files = new LogFiles(folder, signerOf(derive, origin), state)
  // A second recovery, after the first one crashed, must produce the same tree. So the recovery
  // entry carries no time, and nothing is appended without a write-ahead log.
  if (wal.start !== undefined) {
    const mark = encodeMark('recovered', { entries: entries.length, discardedBytes })
    files.append([...entries, Buffer.from(mark)])
    await files.publish()
    await files.sync()
    removeWal(folder)
  }
  await closeLogFolder(folder)
  const { tree } = state
  return {
    ...{ folder, origin, entries: entries.length, discardedBytes },
    ...{ size: tree.size, root: tree.root().toString('base64') },
  }
}
