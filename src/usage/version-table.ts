/** The ledger of key versions in the store, and what it can prove. */
// SPDX-License-Identifier: Apache-2.0
import type { Database, Reader, Transaction } from '../store/database.ts'
import { upsert } from './upsert.ts'
import {
  type LedgerWriter,
  type VersionUse,
  type VersionUseKind,
  UNKNOWN,
} from './version-ledger.ts'

const KEY = ['key_store', 'key_id', 'version', 'kind', 'caller'] as const
/** Number of rows per statement. */
const SLICE = 100
/** Id of the row that records when the ledger began. */
const START = 'start'

/** ARNs have up to 2,048 characters, and databases refuse NUL. */
const clean = (text: string) => text.slice(0, 2048).replace(/\p{Cc}/gu, '?')

/** Writes the uses first, because what a writer states about itself must already be true. */
export async function writeLedger(
  database: Database,
  uses: readonly VersionUse[],
  writer: LedgerWriter,
): Promise<void> {
  for (let i = 0; i < uses.length; i += SLICE) {
    const rows = uses.slice(i, i + SLICE).map((use) => {
      const caller = clean(use.caller)
      const { keyStore: key_store, keyId: key_id, version, kind } = use
      const id = [key_store, key_id, String(version), kind, caller].join(' ')
      const times = { first_at: Math.floor(use.firstAt), last_at: Math.ceil(use.lastAt) }
      return [id, { key_store, key_id, version, kind, caller, uses: use.uses, ...times }] as const
    })
    await upsert(database, 'version_uses', KEY, new Map(rows), {
      ...{ uses: 'sum', first_at: 'least', last_at: 'most' },
    })
  }
  const { id, startedAt, isLast } = writer
  const flushedAt = Math.floor(writer.flushedAt)
  // A writer that was wrongly taken for dead is opened again: it has lost nothing.
  await database.heartbeat(
    `INSERT INTO ledger_writers (id, started_at, flushed_at, ended_at) VALUES (?, ?, ?, ?)
     ON CONFLICT (id) DO UPDATE SET flushed_at = excluded.flushed_at, ended_at = excluded.ended_at
     RETURNING 1 AS written`,
    [id, Math.floor(startedAt), flushedAt, isLast ? flushedAt : null],
  )
}

/**
 * Maximum difference between the clocks of hosts: newer times do not count as known. It is longer
 * than the longest `activity.flushInterval`.
 */
export const CLOCK_MARGIN_MS = 15 * 60_000

/**
 * Opens the writer of a process that registers again after it was taken for dead. Call in the
 * transaction that registers it, so that it cannot serve without an open writer.
 */
export async function reopenWriter(transaction: Transaction, id: string): Promise<void> {
  await transaction.execute('UPDATE ledger_writers SET ended_at = NULL WHERE id = ?', [id])
}

/** How long gaps are remembered: longer than any period that a command may ask about. */
const GAPS_KEPT_MS = 400 * 86_400_000

/** Returns the ids of all registered processes, as the reader's snapshot has them. */
export type LoadRegistered = (reader: Reader) => Promise<readonly string[]>

/**
 * Begins the ledger if it has not begun, ends the writers of dead processes, and reopens those that
 * were wrongly taken for dead. Writes only if something changes.
 * @param now wall time, milliseconds since the Unix epoch
 */
export async function tendLedger(
  database: Database,
  loadRegistered: LoadRegistered,
  now: number,
): Promise<void> {
  if ((await database.snapshot((reader) => findWork(reader, loadRegistered))).isDone) return
  await database.transaction(async (transaction) => {
    // Read again, so that no process can register in between.
    const { hasBegun, gone, back } = await findWork(transaction, loadRegistered)
    if (!hasBegun) {
      await transaction.execute(
        'INSERT INTO ledger_writers (id, started_at, flushed_at, ended_at) VALUES (?, ?, ?, ?)',
        [START, now, now, now],
      )
    }
    const end = 'UPDATE ledger_writers SET ended_at = ? WHERE id = ?'
    // By its own clock, its last use may be later.
    for (const id of gone) await transaction.execute(end, [now + CLOCK_MARGIN_MS, id])
    for (const id of back) await transaction.execute(end, [null, id])
    // A writer that ended cleanly leaves no gap, and no command asks about gaps older than that
    // time.
    await transaction.execute(
      `DELETE FROM ledger_writers WHERE id <> ? AND ended_at IS NOT NULL
         AND (ended_at <= flushed_at OR ended_at < ?)`,
      [START, now - GAPS_KEPT_MS],
    )
  })
}

async function findWork(reader: Reader, loadRegistered: LoadRegistered) {
  const registered = await loadRegistered(reader)
  const rows = await reader.query('SELECT id, flushed_at, ended_at FROM ledger_writers')
  const ids = (isEnded: boolean) =>
    rows.flatMap((row) => ((row['ended_at'] !== null) === isEnded ? [String(row['id'])] : []))
  const hasBegun = rows.some(({ id }) => id === START)
  const gone = ids(false).filter((id) => !registered.includes(id))
  const back = ids(true).filter((id) => registered.includes(id))
  return { hasBegun, gone, back, isDone: hasBegun && gone.length + back.length === 0 }
}

/** The period for which the ledger is complete. */
export interface LedgerState {
  /** Wall time before which every use is recorded, except before `since`; undefined if unknown. */
  readonly knownUntil: number | undefined
  /** Wall time of the start of the ledger, or of the end of its last gap. */
  readonly since: number
  /** Why `knownUntil` is unknown. */
  readonly doubt?: string
}

/**
 * @param at `now`: wall time; `registered`: ids of all registered processes, as of the reader's
 * moment; `gapsBefore`: gaps that began later do not count (default: all count)
 */
export async function loadLedgerState(
  reader: Reader,
  {
    now,
    registered,
    gapsBefore = Infinity,
  }: {
    readonly now: number
    readonly registered: readonly string[]
    readonly gapsBefore?: number
  },
): Promise<LedgerState> {
  const rows = await reader.query('SELECT id, flushed_at, ended_at FROM ledger_writers')
  const writers = rows.map((row) => ({
    id: String(row['id']),
    flushedAt: Number(row['flushed_at']),
    endedAt: row['ended_at'] === null ? undefined : Number(row['ended_at']),
  }))
  if (!writers.some(({ id }) => id === START)) {
    const doubt = 'the ledger has not begun: no server of this release has started'
    return { knownUntil: undefined, since: now, doubt }
  }
  const since = Math.max(
    ...writers.flatMap(({ id, flushedAt, endedAt }) => {
      if (endedAt === undefined) return []
      const isGap = endedAt > flushedAt && flushedAt < gapsBefore
      return id === START || isGap ? [endedAt] : []
    }),
  )
  const open = writers.filter(({ endedAt }) => endedAt === undefined)
  const silent = registered.find((id) => !open.some((one) => one.id === id))
  if (silent !== undefined) {
    const doubt = `the process ${silent} keeps no ledger: it is starting, or of an earlier release`
    return { knownUntil: undefined, since, doubt }
  }
  const ahead = open.find(({ flushedAt }) => flushedAt > now + CLOCK_MARGIN_MS)
  if (ahead !== undefined) {
    return { knownUntil: undefined, since, doubt: `the clock of the process ${ahead.id} is ahead` }
  }
  const flushed = Math.min(now, ...open.map(({ flushedAt }) => flushedAt))
  return { knownUntil: flushed - CLOCK_MARGIN_MS, since }
}

/**
 * Returns the uses of one key, by version and kind, most uses first, and those of unknown keys in its
 * key store.
 */
export async function loadVersionUses(
  reader: Reader,
  keyStore: string,
  keyId: string,
): Promise<readonly Readonly<VersionUse>[]> {
  const rows = await reader.query(
    `SELECT key_id, version, kind, caller, uses, first_at, last_at FROM version_uses
     WHERE key_store = ? AND key_id IN (?, ?) ORDER BY version, kind, uses DESC, caller`,
    [keyStore, keyId, UNKNOWN.keyId],
  )
  return rows.map((row) => ({
    ...{ keyStore, keyId: String(row['key_id']), version: Number(row['version']) },
    kind: String(row['kind']) as VersionUseKind,
    caller: String(row['caller']),
    uses: Number(row['uses']),
    firstAt: Number(row['first_at']),
    lastAt: Number(row['last_at']),
  }))
}

/** Returns a filter for the uses of one version: it passes those that may be its own, too. */
export function isUseOf(version: number): (use: Pick<VersionUse, 'version'>) => boolean {
  return (use) => use.version === version || use.version === UNKNOWN.version
}

/** A period in which a version is known to have decrypted nothing. */
export interface Quiet {
  /** Wall time of the last Decrypt, of the ledger's start, or of the end of its last gap. */
  readonly since: number
  /** Wall time until which this is known; undefined if unknown. */
  readonly until: number | undefined
  /** Milliseconds in between; 0 if unknown. */
  readonly ms: number
  readonly doubt?: string
}

/** @param uses the uses of this version */
export function toQuiet(
  { knownUntil, since, doubt }: LedgerState,
  uses: readonly Pick<VersionUse, 'kind' | 'lastAt'>[],
): Quiet {
  const decrypts = uses.flatMap(({ kind, lastAt }) => (kind === 'decrypt' ? [lastAt] : []))
  const quietSince = Math.max(since, ...decrypts)
  const ms = knownUntil === undefined ? 0 : Math.max(0, knownUntil - quietSince)
  return { since: quietSince, until: knownUntil, ms, ...(doubt === undefined ? {} : { doubt }) }
}
