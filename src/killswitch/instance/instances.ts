/**
 * The registry of running instances: each serving process keeps one row, which says what it has
 * applied.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Database, Reader, Row } from '../../store/database.ts'
import { column } from '../../store/sealed-rows.ts'

/** The fixed part of an instance's row. */
export interface InstanceIdentity {
  /** Random, new for each process. */
  readonly id: string
  /** Id of the `latchkey serve` that the process belongs to; its workers share one. */
  readonly group: string
  readonly host: string
  readonly pid: number
  /** Worker number, from 1; 0 where there are no workers. */
  readonly worker: number
  /** Latchkey's version. */
  readonly version: string
  readonly leaseMs: number
}

/** The part of the row that each poll updates. */
export interface Heartbeat {
  /** A different number each time, never used before by this process. */
  readonly beat: number
  /** Everything that this epoch blocks is refused from now on. */
  readonly ackedEpoch: number
  /** The highest epoch ever seen on this host. */
  readonly highEpoch: number
  readonly state: 'open' | 'refusing'
  readonly reason: string | null
  /** Wall time, milliseconds since the Unix epoch. */
  readonly lastSuccessAt: number | null
  readonly inFlight: number
}

/** Times are milliseconds since the Unix epoch, by the database's wall clock. */
export interface Instance extends InstanceIdentity, Heartbeat {
  readonly startedAt: number
  readonly seenAt: number
  readonly ackedAt: number
}

/** Result of a heartbeat; undefined when the row is gone. */
export interface PollAnswer {
  readonly epoch: number
  /** Tag of the last entry in the epoch history; empty when there is none. */
  readonly tag: string
  readonly storeId: string
}

/** The row is durable before this resolves, so every later kill waits for this instance. */
export async function register(
  database: Database,
  me: InstanceIdentity,
  highEpoch: number,
): Promise<void> {
  const now = database.nowSql
  await database.transaction((transaction) =>
    transaction.execute(
      `INSERT INTO instances (id, grp, host, pid, worker, version, lease_ms, high_epoch, started_at,
         seen_at, acked_at, beat, acked_epoch, state, reason, last_success_at, in_flight)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ${now}, ${now}, ${now}, 0, -1, 'refusing', 'LEASE_EXPIRED', NULL, 0)`,
      [me.id, me.group, me.host, me.pid, me.worker, me.version, me.leaseMs, highEpoch],
    ),
  )
}

/**
 * Acknowledges and reads the epoch in one statement, so the epoch is at least as recent as the
 * call.
 */
export async function sendHeartbeat(
  database: Database,
  id: string,
  heart: Heartbeat,
): Promise<PollAnswer | undefined> {
  const now = database.nowSql
  const [row] = await database.heartbeat(
    `UPDATE instances SET beat = ?, seen_at = ${now},
       acked_at = CASE WHEN acked_epoch = ? THEN acked_at ELSE ${now} END,
       acked_epoch = ?, high_epoch = ?, state = ?, reason = ?, last_success_at = ?, in_flight = ?
     WHERE id = ?
     RETURNING (SELECT value FROM facts WHERE name = 'epoch') AS epoch,
       (SELECT tag FROM epochs ORDER BY epoch DESC LIMIT 1) AS tag,
       (SELECT value FROM facts WHERE name = 'store_id') AS store_id`,
    [
      ...[heart.beat, heart.ackedEpoch, heart.ackedEpoch, heart.highEpoch, heart.state],
      ...[heart.reason, heart.lastSuccessAt, heart.inFlight, id],
    ],
  )
  if (row === undefined) return undefined
  return {
    epoch: Number(column(row, 'epoch')),
    tag: String(column(row, 'tag') ?? ''),
    storeId: String(column(row, 'store_id')),
  }
}

export async function listInstances(reader: Reader): Promise<readonly Instance[]> {
  return (await reader.query('SELECT * FROM instances ORDER BY host, grp, worker, id')).map(parse)
}

/**
 * Returns the highest epoch that any registered instance has seen, for an instance that has no mark
 * of its own. No code covers the value, so a forged one can make an instance refuse, but never
 * serve.
 */
export async function highestSeen(reader: Reader): Promise<number> {
  const [row] = await reader.query('SELECT max(high_epoch) AS high FROM instances')
  return Number(row?.['high'] ?? -1)
}

/**
 * Called by the instance itself when it has stopped serving, and by others that saw no new beat in
 * its row for longer than its lease.
 * @returns false when there was a new beat since, or the row is gone
 */
export async function removeInstance(
  database: Database,
  id: string,
  beat?: number,
): Promise<boolean> {
  const rows = await database.heartbeat(
    `DELETE FROM instances WHERE id = ?${beat === undefined ? '' : ' AND beat = ?'} RETURNING id`,
    beat === undefined ? [id] : [id, beat],
  )
  return rows.length > 0
}

function parse(row: Row): Instance {
  const number = (name: string) => Number(column(row, name))
  const text = (name: string) => String(column(row, name))
  const reason = column(row, 'reason')
  const lastSuccessAt = column(row, 'last_success_at')
  return {
    id: text('id'),
    group: text('grp'),
    host: text('host'),
    pid: number('pid'),
    worker: number('worker'),
    version: text('version'),
    leaseMs: number('lease_ms'),
    beat: number('beat'),
    ackedEpoch: number('acked_epoch'),
    highEpoch: number('high_epoch'),
    state: text('state') === 'open' ? 'open' : 'refusing',
    reason: reason === null ? null : String(reason),
    lastSuccessAt: lastSuccessAt === null ? null : Number(lastSuccessAt),
    inFlight: number('in_flight'),
    startedAt: number('started_at'),
    seenAt: number('seen_at'),
    ackedAt: number('acked_at'),
  }
}
