/** Opens the audit logs of a configuration or of a folder, for commands. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { AuditError } from '../audit/errors.ts'
import { createPrincipalHash, type HashPrincipal, PRINCIPALS } from '../audit/principal-hash.ts'
import { readControlEvents, toKnownLogs } from '../audit/reader/known-logs.ts'
import type { Problem } from '../audit/reader/problem.ts'
import type { KnownLog, LogReport } from '../audit/reader/verify-log.ts'
import { CERTIFICATE, CONTROL_LOG, listLogs } from '../audit/writer/log-folder.ts'
import type { Config } from '../config/config.ts'
import { openSigner } from '../killswitch/receipt/signing-key.ts'
import { EMPTY_ROOT, hashLeaf, nodesOf, rootOf } from '../core/tlog/merkle.ts'
import { type ControlEvent, encodeEvent, readEvents } from '../store/event-log.ts'
import { openStore } from '../store/store.ts'
import { toStoreOptions } from './store.ts'

export interface AuditLogs {
  /** Folders of the logs: that of the control log first, then those of the processes, oldest first. */
  readonly folders: readonly string[]
  /** Public key of the store, which certifies their keys. */
  readonly publicKey: string
  /**
   * True if the store itself was read; otherwise the information comes from the published control
   * log.
   */
  readonly isFromStore: boolean
  /** Process logs that were opened, by origin. */
  readonly known: ReadonlyMap<string, KnownLog>
  /** Hashes ARNs as the logs of this store do; undefined if the store was not read. */
  readonly hashPrincipal: HashPrincipal | undefined
  /** Events of the store; empty if it was not read. */
  readonly events: readonly ControlEvent[]
}

export interface AuditPlace {
  /** A folder of logs, or of one log (default: that of the configuration). */
  readonly folder: string | undefined
  /** Public key of the store; if absent, the store is opened to read it. */
  readonly publicKey: string | undefined
  readonly loadConfig: () => Promise<Config>
}

/**
 * Needs no store if a folder and a public key are given. What is known about the logs then comes from the
 * control log in that folder.
 * @throws AuditError AUDIT_NOT_FOUND, StorageError
 */
export async function openAuditLogs(place: AuditPlace): Promise<AuditLogs> {
  const stored =
    place.publicKey === undefined ? await readStore(await place.loadConfig()) : undefined
  const folder = place.folder ?? stored?.folder ?? (await place.loadConfig()).audit.folder
  const folders = await findLogs(folder)
  const publicKey = place.publicKey ?? stored?.publicKey ?? ''
  const isFromStore = stored !== undefined
  const known = isFromStore
    ? toKnownLogs(stored.events, 'the store')
    : toKnownLogs(await readControlEvents(folder, publicKey), 'the control log')
  return {
    folders,
    publicKey,
    isFromStore,
    known,
    events: stored?.events ?? [],
    hashPrincipal: stored?.hashPrincipal,
  }
}

/** @throws AuditError AUDIT_NOT_FOUND */
async function findLogs(folder: string): Promise<readonly string[]> {
  if (existsSync(join(folder, CERTIFICATE))) return [folder]
  const names = await listLogs(folder)
  if (names.length === 0) {
    throw new AuditError('AUDIT_NOT_FOUND', `${folder}: there is no audit log`, {
      hint: 'audit.mode says whether servers write one',
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
export function findKnown({ known, events }: AuditLogs, origin: string, size: number): KnownLog {
  const found = known.get(origin)
  if (found !== undefined || !origin.endsWith('/control')) return found ?? { heads: [] }
  if (events.length === 0) return { heads: [] }
  // The published log may lag the store by a few seconds.
  const length = Math.min(size, events.length)
  const node = nodesOf(events.slice(0, length).map((event) => hashLeaf(encodeEvent(event))))
  const isLonger = size > events.length
  const root = isLonger ? EMPTY_ROOT : rootOf(node, length)
  return { heads: [{ size: length, root, source: 'the store' }] }
}

export interface MissingLogs {
  /** One problem for each known log of these hosts that is missing. */
  readonly problems: readonly Problem[]
  /** Hosts whose logs were not expected here, each with the number of its logs. */
  readonly elsewhere: ReadonlyMap<string, number>
}

/**
 * Finds known logs that have no report. Each host has its own folder, so the logs of a host are
 * expected only on that host, or in a folder that contains another of its logs.
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
    const entries = size === undefined ? '' : ` of ${String(size)} entries`
    problems.push({
      kind: 'missing',
      message: `${source} knows the log ${origin}${entries}, which is not in this folder`,
    })
  }
  return { problems, elsewhere }
}
