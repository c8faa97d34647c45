/**
 * Stored activity: counts by minute for the last two hours, and by hour for the retention period.
 */
// SPDX-License-Identifier: Apache-2.0
import { mapInSlices } from '../core/slices.ts'
import type { Database, Reader, Row, SqlValue } from '../store/database.ts'
import { type Count, type CredentialUse, HOUR_MS, MINUTE_MS } from './recorder.ts'
import { type MergeRule, upsert } from './upsert.ts'
import { type UsageKey, toUsageKeyId } from './usage-key.ts'

export interface Activity {
  readonly subject: UsageKey
  readonly requests: number
  /** Wall time of the first and last request, in milliseconds since the Unix epoch. */
  readonly firstAt: number
  readonly lastAt: number
}

/** The requested period, extended to whole minutes or hours. */
export interface Period {
  readonly since: number
  readonly until: number
  readonly spanMs: number
}

/**
 * How long counts by minute are kept, in milliseconds. Older activity is available only by hour.
 */
export const MINUTES_KEPT_MS = 2 * HOUR_MS
/** Maximum number of rows deleted per transaction, small enough not to delay a kill. */
const PURGE_ROWS = 500

/**
 * Writes all counts or none. If it fails, the subjects may already have been written; writing them
 * again does no harm. Each statement is its own transaction, so a process that is suspended here
 * does not make a kill wait for a lock.
 * @param counts a small number of counts, because one statement writes them all
 */
export async function writeCounts(database: Database, counts: readonly Count[]): Promise<void> {
  const subjects = new Map<string, Row>()
  const rows = new Map<string, Row>()
  for (const count of counts) {
    const id = toUsageKeyId(count.subject)
    const before = subjects.get(id)
    const lastAt = Math.max(count.lastAt, Number(before?.['last_at'] ?? 0))
    subjects.set(id, fromSubject(count.subject, id, lastAt))
    for (const spanMs of [MINUTE_MS, HOUR_MS]) addRow(rows, count, id, spanMs)
  }
  await upsert(database, 'activity_subjects', ['subject'], subjects, LATEST)
  await upsert(database, 'activity', ['span_ms', 'starts_at', 'subject'], rows, ADDED)
}

export async function writeUses(database: Database, uses: readonly CredentialUse[]): Promise<void> {
  const rows = new Map(uses.map((one) => [one.accessKeyId, fromUse(one)]))
  await upsert(database, 'credential_uses', ['access_key_id'], rows, ADDED_USES)
}

function addRow(rows: Map<string, Row>, count: Count, subject: string, spanMs: number): void {
  const startsAt = Math.floor(count.minute / spanMs) * spanMs
  // An upsert may not touch a row twice, and two in-memory keys can map to the same stored row
  // after sanitizing, so merge them first.
  const id = `${String(spanMs)} ${String(startsAt)} ${subject}`
  const before = rows.get(id)
  rows.set(id, {
    span_ms: spanMs,
    starts_at: startsAt,
    subject,
    requests: count.requests + Number(before?.['requests'] ?? 0),
    first_at: Math.min(Math.floor(count.firstAt), Number(before?.['first_at'] ?? Infinity)),
    last_at: Math.max(Math.floor(count.lastAt), Number(before?.['last_at'] ?? 0)),
  })
}

const LATEST: Readonly<Record<string, MergeRule>> = { last_at: 'most' }
const ADDED: Readonly<Record<string, MergeRule>> = {
  requests: 'sum',
  first_at: 'least',
  last_at: 'most',
}
const ADDED_USES: Readonly<Record<string, MergeRule>> = {
  uses: 'sum',
  first_at: 'least',
  last_at: 'most',
}

/** Deletes rows past their retention. @param now wall time of the database's host */
export async function purgeActivity(
  database: Database,
  { now, retentionMs }: { readonly now: number; readonly retentionMs: number },
): Promise<void> {
  for (const [spanMs, before] of [
    [MINUTE_MS, now - MINUTES_KEPT_MS],
    [HOUR_MS, now - retentionMs],
  ] as const) {
    await purgeRows(database, 'activity', ['span_ms', 'starts_at', 'subject'], {
      where: 'span_ms = ? AND starts_at < ?',
      parameters: [spanMs, Math.floor(before)],
    })
  }
  await purgeRows(database, 'activity_subjects', ['subject'], {
    where: 'last_at < ?',
    parameters: [Math.floor(now - Math.max(retentionMs, MINUTES_KEPT_MS) - HOUR_MS)],
  })
}

async function purgeRows(
  database: Database,
  table: string,
  key: readonly string[],
  { where, parameters }: { readonly where: string; readonly parameters: readonly SqlValue[] },
): Promise<void> {
  const columns = key.join(', ')
  const some = `SELECT ${columns} FROM ${table} WHERE ${where} LIMIT ${String(PURGE_ROWS)}`
  let deleted = PURGE_ROWS
  while (deleted === PURGE_ROWS) {
    deleted = await database.transaction((transaction) =>
      transaction.execute(`DELETE FROM ${table} WHERE (${columns}) IN (${some})`, parameters),
    )
  }
}

/**
 * Rounds outwards to whole minutes if counts per minute are still kept, otherwise to whole hours.
 */
export function toPeriod(asked: { since: number; until: number }, now: number): Period {
  const spanMs = now - asked.since < MINUTES_KEPT_MS - MINUTE_MS ? MINUTE_MS : HOUR_MS
  return {
    since: Math.floor(asked.since / spanMs) * spanMs,
    until: Math.ceil(asked.until / spanMs) * spanMs,
    spanMs,
  }
}

/** Number of rows that are parsed in one turn of the event loop. */
const PER_TURN = 500

/** Returns activity summed by subject, most requests first. */
export async function loadActivity(
  reader: Reader,
  { since, until, spanMs }: Period,
): Promise<readonly Activity[]> {
  const rows = await reader.query(
    `SELECT s.key_store, s.operation, s.key_id, s.kms_operation, s.principal, s.kms_key_arn,
            s.via_service, s.vpc, s.vpce, s.outcome, s.is_overflow, s.is_probe,
            a.requests, a.first_at, a.last_at
     FROM (SELECT subject, SUM(requests) AS requests, MIN(first_at) AS first_at, MAX(last_at) AS last_at
           FROM activity WHERE span_ms = ? AND starts_at >= ? AND starts_at < ? GROUP BY subject) a
     JOIN activity_subjects s ON s.subject = a.subject
     ORDER BY a.requests DESC, s.subject`,
    [spanMs, since, until],
  )
  return mapInSlices(rows, PER_TURN, parseActivity)
}

function parseActivity(row: Row): Activity {
  return {
    subject: parseSubject(row),
    requests: Number(row['requests']),
    firstAt: Number(row['first_at']),
    lastAt: Number(row['last_at']),
  }
}

/** The requests of one subject within one minute or hour. */
export interface ActivitySpan extends Activity {
  /** Start of the minute or hour, in milliseconds since the Unix epoch. */
  readonly startsAt: number
}

/** Returns activity by minute or hour, oldest first. */
export async function loadActivitySpans(
  reader: Reader,
  { since, until, spanMs }: Period,
): Promise<readonly ActivitySpan[]> {
  const rows = await reader.query(
    `SELECT s.key_store, s.operation, s.key_id, s.kms_operation, s.principal, s.kms_key_arn,
            s.via_service, s.vpc, s.vpce, s.outcome, s.is_overflow, s.is_probe,
            a.starts_at, a.requests, a.first_at, a.last_at
     FROM activity a JOIN activity_subjects s ON s.subject = a.subject
     WHERE a.span_ms = ? AND a.starts_at >= ? AND a.starts_at < ?
     ORDER BY a.starts_at, a.first_at, s.subject`,
    [spanMs, since, until],
  )
  return mapInSlices(rows, PER_TURN, (row) => ({
    ...parseActivity(row),
    startsAt: Number(row['starts_at']),
  }))
}

/**
 * Returns keys that encrypted recently, the most recent first. This is only a hint: anyone who can
 * write to the store can change it.
 */
export async function loadLatestKeys(
  reader: Reader,
  limit: number,
): Promise<readonly { readonly keyStore: string; readonly keyId: string }[]> {
  const rows = await reader.query(
    `SELECT key_store, key_id FROM activity_subjects
     WHERE operation = 'Encrypt' AND key_id IS NOT NULL
     GROUP BY key_store, key_id ORDER BY MAX(last_at) DESC LIMIT ?`,
    [limit],
  )
  return rows.map((row) => ({
    keyStore: String(row['key_store']),
    keyId: String(row['key_id']),
  }))
}

/** Returns uses by access key id across the whole fleet; unused credentials are absent. */
export async function loadCredentialUses(
  reader: Reader,
  accessKeyIds?: readonly string[],
): Promise<ReadonlyMap<string, CredentialUse>> {
  if (accessKeyIds?.length === 0) return new Map()
  const marks = accessKeyIds?.map(() => '?').join(', ')
  const rows = await reader.query(
    `SELECT access_key_id, key_store, uses, first_at, last_at FROM credential_uses
     ${marks === undefined ? '' : `WHERE access_key_id IN (${marks})`}`,
    accessKeyIds,
  )
  const uses = rows.map((row) => ({
    accessKeyId: String(row['access_key_id']),
    keyStore: String(row['key_store']),
    uses: Number(row['uses']),
    firstAt: Number(row['first_at']),
    lastAt: Number(row['last_at']),
  }))
  return new Map(uses.map((one) => [one.accessKeyId, one]))
}

function fromUse({ accessKeyId, keyStore, uses, firstAt, lastAt }: CredentialUse): Row {
  return {
    access_key_id: accessKeyId,
    key_store: keyStore,
    uses,
    first_at: Math.floor(firstAt),
    last_at: Math.floor(lastAt),
  }
}

function fromSubject(subject: UsageKey, id: string, lastAt: number): Row {
  return {
    subject: id,
    key_store: subject.keyStore,
    operation: subject.operation,
    key_id: subject.keyId ?? null,
    kms_operation: subject.kmsOperation ?? null,
    principal: subject.principal ?? null,
    kms_key_arn: subject.kmsKeyArn ?? null,
    via_service: subject.viaService ?? null,
    vpc: subject.vpc ?? null,
    vpce: subject.vpce ?? null,
    outcome: subject.outcome,
    is_overflow: subject.isOverflow ? 1 : 0,
    is_probe: subject.isProbe === true ? 1 : 0,
    last_at: Math.floor(lastAt),
  }
}

function parseSubject(row: Row): UsageKey {
  return {
    keyStore: String(row['key_store']),
    operation: String(row['operation']),
    ...text('keyId', row['key_id']),
    ...text('kmsOperation', row['kms_operation']),
    ...text('principal', row['principal']),
    ...text('kmsKeyArn', row['kms_key_arn']),
    ...text('viaService', row['via_service']),
    ...text('vpc', row['vpc']),
    ...text('vpce', row['vpce']),
    outcome: String(row['outcome']),
    isOverflow: Number(row['is_overflow']) === 1,
    ...(Number(row['is_probe']) === 1 ? { isProbe: true } : {}),
  }
}

function text<Name extends string>(name: Name, value: SqlValue | undefined) {
  return (typeof value === 'string' ? { [name]: value } : {}) as Partial<Record<Name, string>>
}
