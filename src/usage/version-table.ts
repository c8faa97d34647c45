/** The store's ledger of key versions, and the conclusions that can be drawn from it. */
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

/**
 * Truncates a string to the 2,048 characters of the longest ARN, and replaces control characters,
 * because databases refuse NUL.
 */
const clean = (text: string) => text.slice(0, 2048).replace(/\p{Cc}/gu, '?')

/**
 * Writes the uses before the writer's row, because that row states that the uses have been written.
 */
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
  // Reopens the record of a writer that was wrongly presumed dead: none of its uses were lost.
  await database.heartbeat(
    `INSERT INTO ledger_writers (id, started_at, flushed_at, ended_at) VALUES (?, ?, ?, ?)
     ON CONFLICT (id) DO UPDATE SET flushed_at = excluded.flushed_at, ended_at = excluded.ended_at
     RETURNING 1 AS written`,
    [id, Math.floor(startedAt), flushedAt, isLast ? flushedAt : null],
  )
}

/**
 * Allowance for clock skew between hosts: the ledger never counts as complete for a period more
 * recent than this. It is longer than the longest `activity.flushInterval`.
 */
export const CLOCK_MARGIN_MS = 15 * 60_000

/**
 * Reopens the writer of a process that registers again after it was presumed dead. Call in the
 * transaction that registers the process, so that it cannot serve without an open writer.
 */
export async function reopenWriter(transaction: Transaction, id: string): Promise<void> {
  await transaction.execute('UPDATE ledger_writers SET ended_at = NULL WHERE id = ?', [id])
}

/** Retention of gaps: longer than any period that a command may ask about. */
const GAPS_KEPT_MS = 400 * 86_400_000

/** Returns the ids of all registered processes in the reader's snapshot. */
export type LoadRegistered = (reader: Reader) => Promise<readonly string[]>

/**
 * Starts the ledger if necessary, closes the writers of dead processes, and reopens those that were
 * wrongly presumed dead. Writes only if something changes.
 * @param now wall time, in milliseconds since the Unix epoch
 */
export async function tendLedger(
  database: Database,
  loadRegistered: LoadRegistered,
  now: number,
): Promise<void> {
  if ((await database.snapshot((reader) => findWork(reader, loadRegistered))).isDone) return
  await database.transaction(async (transaction) => {
    // Find the work again in this transaction, so that no process can register between the read and
    // the update.
    const { hasBegun, gone, back } = await findWork(transaction, loadRegistered)
    if (!hasBegun) {
      await transaction.execute(
        'INSERT INTO ledger_writers (id, started_at, flushed_at, ended_at) VALUES (?, ?, ?, ?)',
        [START, now, now, now],
      )
    }
    const end = 'UPDATE ledger_writers SET ended_at = ? WHERE id = ?'
    // By the writer's own clock, its last use may be later than `now`, so the margin is added.
    for (const id of gone) await transaction.execute(end, [now + CLOCK_MARGIN_MS, id])
    for (const id of back) await transaction.execute(end, [null, id])
    // A writer that ended cleanly leaves no gap, and no command asks about gaps older than
    // GAPS_KEPT_MS.
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
  /** Wall time at which the complete record, which starts at `since`, ends; undefined if unknown. */
  readonly knownUntil: number | undefined
  /** Wall time at which the ledger started or, if it has gaps, at which the last gap ended. */
  readonly since: number
  /** Reason that `knownUntil` is unknown. */
  readonly doubt?: string
}

/**
 * @param at `now` is the wall time, and `registered` contains the ids of all registered processes
 * in the reader's snapshot. Gaps that began after `gapsBefore` are ignored (default: no gap is
 * ignored)
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
    const doubt = 'the ledger has not started: no server has run with this release yet'
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
    const doubt = `the process ${silent} keeps no ledger: it is starting, or runs an earlier release`
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
 * Returns one key's uses by version and kind, most uses first, along with uses of unknown keys in
 * its key store.
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

/**
 * Returns a filter for the uses of one version. It includes uses of unknown versions, because they
 * may be uses of this one.
 */
export function isUseOf(version: number): (use: Pick<VersionUse, 'version'>) => boolean {
  return (use) => use.version === version || use.version === UNKNOWN.version
}

/** A period in which a version is known to have decrypted nothing. */
export interface Quiet {
  /**
   * Latest of these wall times: the last Decrypt, the ledger's start, and the end of the ledger's
   * last gap.
   */
  readonly since: number
  /** Wall time up to which the version is known to have decrypted nothing; undefined if unknown. */
  readonly until: number | undefined
  /** Milliseconds between `since` and `until`; 0 if unknown. */
  readonly ms: number
  readonly doubt?: string
}

/** @param uses all uses of the version */
export function toQuiet(
  { knownUntil, since, doubt }: LedgerState,
  uses: readonly Pick<VersionUse, 'kind' | 'lastAt'>[],
): Quiet {
  const decrypts = uses.flatMap(({ kind, lastAt }) => (kind === 'decrypt' ? [lastAt] : []))
  const quietSince = Math.max(since, ...decrypts)
  const ms = knownUntil === undefined ? 0 : Math.max(0, knownUntil - quietSince)
  return { since: quietSince, until: knownUntil, ms, ...(doubt === undefined ? {} : { doubt }) }
}
