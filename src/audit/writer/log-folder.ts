/** Manages a log's directory: its owner, and the certificate for its key. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs'
import { access, lstat, mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Signed, Signer } from '../../core/signature.ts'
import { AuditError, invalidLog } from '../errors.ts'
import type { LogCertificate } from '../../core/tlog/evidence.ts'
import { createNoteSigner, type NoteSigner } from '../../core/tlog/note.ts'
import { syncFolder, writeSynced } from './durable.ts'

const OWNER = 'owner.json'
export const CERTIFICATE = 'certificate.json'
/** File with the verifier key, for other tools. */
export const VERIFIER_KEY = 'log.vkey'
/**
 * Control log directory, next to the processes' directories. Directories with this prefix hold the
 * control log's earlier histories.
 */
export const CONTROL_LOG = 'control'

/** Certificate for a process's log. */
export interface ProcessCertificate extends LogCertificate {
  readonly kind: 'audit log'
  readonly host: string
  readonly pid: number
  readonly worker: number
  readonly version: string
  /** ISO 8601, UTC. */
  readonly startedAt: string
}

/** Either kind of certificate. Only a process's log has a host. */
export type AnyCertificate = LogCertificate & Partial<Pick<ProcessCertificate, 'host'>>

/** Derives a log's private key, which is never written to disk, from the store key. */
export type DeriveSeed = (purpose: string) => Buffer

export function originOf(storeId: string, logId: string): string {
  return `latchkey/${storeId}/audit/${logId}`
}

export function deriveLogSeed(derive: DeriveSeed, origin: string): Buffer {
  return derive(`audit log ${origin}`)
}

export function signerOf(derive: DeriveSeed, origin: string): NoteSigner {
  const seed = deriveLogSeed(derive, origin)
  const signer = createNoteSigner(origin, seed)
  seed.fill(0)
  return signer
}

/** Identifies a process even if its pid has been reused. */
export interface Owner {
  readonly host: string
  readonly pid: number
  readonly boot: string
  readonly started: string
}

export function ownerOf(host: string, pid: number): Owner {
  return { host, pid, boot: readSystem('/proc/sys/kernel/random/boot_id'), started: startOf(pid) }
}

/**
 * Returns the process's start time in clock ticks since boot; empty if there is no /proc or no such
 * process.
 */
function startOf(pid: number): string {
  const stat = readSystem(`/proc/${String(pid)}/stat`)
  // The program name is in parentheses and may contain spaces.
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}

function readSystem(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    return ''
  }
}

/**
 * Reports whether the process has definitely exited. A process on another host counts as running.
 */
export function isGone(owner: Owner, host: string): boolean {
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
  /** Directory that holds all logs. */
  readonly root: string
  readonly logId: string
  readonly derive: DeriveSeed
  readonly certify: Signer
}

/**
 * Creates a log's directory, including its certificate.
 * @throws AuditError AUDIT_UNWRITABLE
 */
export async function createLogFolder(options: NewLogOptions): Promise<NewLog> {
  const { root, logId, derive, certify, ...facts } = options
  const origin = originOf(facts.storeId, logId)
  const { verifierKey } = signerOf(derive, origin)
  const certificate: ProcessCertificate = { kind: 'audit log', origin, verifierKey, ...facts }
  const folder = join(root, logId)
  try {
    await mkdir(root, { recursive: true, mode: 0o750 })
    await mkdir(folder, { mode: 0o750 })
    // Write the owner first, because a directory without an owner counts as closed.
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
  return new AuditError('AUDIT_UNWRITABLE', `cannot write the audit log in ${folder}: ${why}`, {
    ...{ cause, hint: 'set audit.folder to a folder that this user can write to' },
  })
}

/** Marks a log as closed by its process. */
export async function closeLogFolder(folder: string): Promise<void> {
  await rm(join(folder, OWNER), { force: true })
  syncFolder(folder)
}

/** Reports whether a process is writing the log, or exited without closing it. */
export function isOpenLog(folder: string): boolean {
  return existsSync(join(folder, OWNER))
}

/** Returns the process that has not closed the log; undefined if the log is closed. */
export async function readOwner(folder: string): Promise<Owner | undefined> {
  const text = await readFile(join(folder, OWNER), 'utf8').catch(() => undefined)
  return text === undefined ? undefined : (JSON.parse(text) as Owner)
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
  throw invalidLog(folder, `${CERTIFICATE} is missing or is not a certificate`)
}

/**
 * Returns the names of the logs in a directory, oldest first. The server calls it too, so it never
 * blocks the event loop.
 */
export async function listLogs(root: string): Promise<readonly string[]> {
  const entries = await readdir(root, { withFileTypes: true }).catch(() => [])
  const names: string[] = []
  for (const one of entries) {
    if (one.isDirectory() && (await hasCertificate(root, one.name))) names.push(one.name)
  }
  return names.sort()
}

/** Reports whether `listLogs` would return this name, which may be untrusted input. */
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

/** Returns the names of the processes' logs, oldest first. */
export async function listProcessLogs(root: string): Promise<readonly string[]> {
  return (await listLogs(root)).filter((name) => !name.startsWith(CONTROL_LOG))
}
