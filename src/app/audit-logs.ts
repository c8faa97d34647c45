/** Opens the audit logs of a configuration or of a folder, for commands. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs'
import { basename, join } from 'node:path'
import { AuditError } from '../audit/errors.ts'
import { type AuditReader, createAuditReader } from '../audit/reader/audit-reader.ts'
import { createPrincipalHash, type HashPrincipal, PRINCIPALS } from '../audit/principal-hash.ts'
import { readControlEvents, toKnownLogs } from '../audit/reader/known-logs.ts'
import type { Problem } from '../audit/reader/problem.ts'
import { type OpenedLog, openLog } from '../audit/reader/log-reader.ts'
import { findUnknownLogs, type LogRecord, type UnknownLogs } from '../audit/reader/unknown-logs.ts'
import type { KnownLog, LogReport } from '../audit/reader/verify-log.ts'
import { CERTIFICATE, CONTROL_LOG, isLog, listLogs } from '../audit/writer/log-folder.ts'
import type { Config } from '../config/config.ts'
import { systemClock } from '../core/clock.ts'
import { forEachInSlices } from '../core/slices.ts'
import { EMPTY_ROOT, hashLeaf, hashTree, rootOf } from '../core/tlog/merkle.ts'
import { openSigner } from '../killswitch/receipt/signing-key.ts'
import { type ControlEvent, encodeEvent, readEvents } from '../store/event-log.ts'
import { openStore, type Store } from '../store/store.ts'
import { toStoreOptions } from './store.ts'

export interface AuditLogs {
  /**
   * Folders of the logs. The control log comes first, then the logs of the processes, oldest first.
   */
  readonly folders: readonly string[]
  /** Public key of the store, which certifies the keys of the logs. */
  readonly publicKey: string
  /**
   * True if the store itself was read; otherwise the information comes from the published control
   * log.
   */
  readonly isFromStore: boolean
  /** Process logs that were opened, by origin. */
  readonly known: ReadonlyMap<string, KnownLog>
  /** Hashes ARNs in the same way as the logs of this store; undefined if the store was not read. */
  readonly hashPrincipal: HashPrincipal | undefined
  /** Events of the store; empty if it was not read. */
  readonly events: readonly ControlEvent[]
  /** Record of the logs in the store or the control log; undefined if neither was read. */
  readonly record: LogRecord | undefined
  /** Reads the record again. The new record includes logs that were opened in the meantime. */
  reread(): Promise<LogRecord | undefined>
}

export interface AuditPlace {
  /**
   * A folder that contains logs, or the folder of a single log (default: the configured folder).
   */
  readonly folder: string | undefined
  /** Public key of the store; if absent, the store is opened to read it. */
  readonly publicKey: string | undefined
  readonly loadConfig: () => Promise<Config>
}

/**
 * If a folder and a public key are given, no store is needed: the information about the logs then
 * comes from the control log in that folder.
 * @throws AuditError AUDIT_NOT_FOUND, StorageError
 */
export async function openAuditLogs(place: AuditPlace): Promise<AuditLogs> {
  const { stored, folder } = await resolvePlace(place)
  const folders = await findLogs(folder)
  const publicKey = place.publicKey ?? stored?.publicKey ?? ''
  const isFromStore = stored !== undefined
  const readRecord = () => readLogRecord({ stored, folder, publicKey })
  const record = await readRecord()
  return {
    ...{ folders, publicKey, isFromStore, record, known: record?.known ?? new Map() },
    events: stored?.events ?? [],
    hashPrincipal: stored?.hashPrincipal,
    reread: async () =>
      isFromStore
        ? toRecord((await readStore(await place.loadConfig())).events)
        : await readRecord(),
  }
}

interface RecordSource {
  /** Undefined if the store was not read. */
  readonly stored: { readonly events: readonly ControlEvent[] } | undefined
  readonly folder: string
  readonly publicKey: string
}

/** Reads the record from the store or, without it, from the published control log. */
async function readLogRecord(from: RecordSource): Promise<LogRecord | undefined> {
  if (from.stored !== undefined) return toRecord(from.stored.events)
  const published = await readControlEvents(from.folder, from.publicKey)
  const source = 'the control log'
  return published && { ...published, source, known: toKnownLogs(published.events, source) }
}

function toRecord(events: readonly ControlEvent[]): LogRecord {
  const source = 'the store'
  return { known: toKnownLogs(events, source), source, lastAt: undefined }
}

async function resolvePlace(place: AuditPlace) {
  const stored =
    place.publicKey === undefined ? await readStore(await place.loadConfig()) : undefined
  const folder = place.folder ?? stored?.folder ?? (await place.loadConfig()).audit.folder
  return { stored, folder }
}

export interface OpenedReader {
  readonly reader: AuditReader
  /** Finds logs that the reader reads, but that the control log does not record. */
  findUnknown(): Promise<UnknownLogs>
}

/**
 * Opens the logs of a place for reading in pages.
 * @throws StorageError
 */
export async function openAuditReader(place: AuditPlace): Promise<OpenedReader> {
  const { stored, folder } = await resolvePlace(place)
  const publicKey = place.publicKey ?? stored?.publicKey ?? ''
  const folders = () => findLogs(folder)
  const reader = createAuditReader({
    ...{ folders, hashPrincipal: stored?.hashPrincipal },
    find: async (log) => (await folders()).find((one) => basename(one) === log),
    publicKey: () => Promise.resolve(publicKey),
  })
  return {
    reader,
    async findUnknown() {
      // Ignore logs that cannot be opened, because the command that reads a log reports the
      // failure.
      const logs = await Promise.all(
        (await folders()).map((one) => openLog(one, publicKey).catch(() => undefined)),
      )
      const reports = logs.filter((one) => one !== undefined).map(toLogSummary)
      const readRecord = async () =>
        readLogRecord({
          stored: stored && (await readStore(await place.loadConfig())),
          ...{ folder, publicKey },
        })
      const record = await readLogRecord({ stored, folder, publicKey })
      return findUnknownLogs(reports, { record, reread: readRecord, now: systemClock.now() })
    },
  }
}

function toLogSummary({ folder, certificate }: OpenedLog) {
  const { origin, kind } = certificate
  const startedAt = 'startedAt' in certificate ? String(certificate.startedAt) : undefined
  return { folder, origin, isControl: kind === 'control log', startedAt }
}

/** Opens a reader of the logs in a folder, for a server whose callers supply the log names. */
export function openHostReader(
  root: string,
  { sealing }: Pick<Store, 'sealing'>,
  publicKey: () => Promise<string>,
): AuditReader {
  return createAuditReader({
    folders: () => listLogs(root),
    find: async (log) => ((await isLog(root, log)) ? join(root, log) : undefined),
    ...{ publicKey, hashPrincipal: createPrincipalHash(sealing.derive(PRINCIPALS)) },
  })
}

/** @throws AuditError AUDIT_NOT_FOUND */
async function findLogs(folder: string): Promise<readonly string[]> {
  if (existsSync(join(folder, CERTIFICATE))) return [folder]
  const names = await listLogs(folder)
  if (names.length === 0) {
    throw new AuditError('AUDIT_NOT_FOUND', `${folder} does not contain an audit log`, {
      hint: 'check audit.mode, which sets whether servers write an audit log',
    })
  }
  const isControl = (name: string) => name === CONTROL_LOG
  return [...names.filter(isControl), ...names.filter((one) => !isControl(one))].map((name) =>
    join(folder, name),
  )
}

async function readStore(config: Config) {
  const store = await openStore(await toStoreOptions(config, { connections: 'one' }))
  try {
    const { publicKey } = await openSigner(store)
    const events = await store.database.snapshot((reader) => readEvents(reader, store.sealing))
    const hashPrincipal = createPrincipalHash(store.sealing.derive(PRINCIPALS))
    return { folder: config.audit.folder, publicKey, events, hashPrincipal }
  } finally {
    await store.close()
  }
}

/**
 * Returns what is known about a log of this size. The store knows the control log completely,
 * because that log consists of the store's own events.
 */
export async function findKnown(
  { known, events }: AuditLogs,
  origin: string,
  size: number,
): Promise<KnownLog> {
  const found = known.get(origin)
  if (found !== undefined || !origin.endsWith('/control')) return found ?? { heads: [] }
  if (events.length === 0) return { heads: [] }
  // The published log may lag behind the store by a few seconds.
  const length = Math.min(size, events.length)
  const root = size > events.length ? EMPTY_ROOT : await hashEvents(events.slice(0, length))
  return { heads: [{ size: length, root, source: 'the store' }] }
}

/** Number of events that are hashed in one turn of the event loop. */
const SLICE = 100

async function hashEvents(events: readonly ControlEvent[]): Promise<Buffer> {
  const leaves: Buffer[] = []
  await forEachInSlices(events, SLICE, (event) => leaves.push(hashLeaf(encodeEvent(event))))
  return rootOf(await hashTree(leaves), leaves.length)
}

export interface MissingLogs {
  /** One problem for each missing log of a host whose logs were checked. */
  readonly problems: readonly Problem[]
  /** Hosts whose logs were not expected in this folder, each with the number of its logs. */
  readonly elsewhere: ReadonlyMap<string, number>
}

/**
 * Finds known logs for which there is no report. Each host has its own folder, so the logs of a
 * host are expected only on that host, or in a folder that contains another log of the same host.
 */
export function findMissing(
  { known, isFromStore }: AuditLogs,
  reports: readonly LogReport[],
  ownHost?: string,
): MissingLogs {
  const origins = new Set(reports.map(({ origin }) => origin))
  const hosts = new Set([ownHost, ...reports.map(({ host }) => host)])
  const source = isFromStore ? 'the store' : 'the control log'
  const problems: Problem[] = []
  const elsewhere = new Map<string, number>()
  for (const [origin, { heads, host }] of known) {
    if (origins.has(origin)) continue
    if (host !== undefined && !hosts.has(host)) {
      elsewhere.set(host, (elsewhere.get(host) ?? 0) + 1)
      continue
    }
    const size = heads.at(-1)?.size
    const entries = size === undefined ? '' : ` with ${String(size)} entries`
    problems.push({
      kind: 'missing',
      message: `${source} lists the log ${origin}${entries}, but this folder does not contain it`,
    })
  }
  return { problems, elsewhere }
}
