/**
 * Heartbeats, which report an instance's state with each poll. The row's MAC proves that a holder
 * of the store's key wrote it, and the tag of the acknowledged epoch ties it to one history of the
 * store.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Row, SqlValue } from '../../store/database.ts'
import { EPOCHS_AFTER } from '../../store/epochs.ts'
import { column } from '../../store/sealed-rows.ts'
import { MAX_EPOCH } from '../../store/sealed-state.ts'
import type { Sealing } from '../../store/sealing.ts'
import type { Store } from '../../store/store.ts'
import type { GateErrorCode } from '../model.ts'

/**
 * The reporting instance. The MAC covers its lease, which determines how long a kill waits for it.
 */
export interface HeartOwner {
  readonly id: string
  readonly leaseMs: number
}

/** The part of the row that each poll updates. */
export interface Heartbeat {
  /** A number that differs in every heartbeat of this process. */
  readonly beat: number
  /** The instance refuses everything that this epoch blocks. */
  readonly ackedEpoch: number
  /**
   * Tag of the acknowledged epoch. An acknowledgement of the same epoch number in another history
   * of the store does not count.
   */
  readonly ackedTag: string
  /** The highest epoch ever seen on this host; -1 if the host has no mark. */
  readonly highEpoch: number
  readonly state: 'open' | 'refusing'
  readonly reason: string | null
  /** Wall time in milliseconds since the Unix epoch. */
  readonly lastSuccessAt: number | null
  readonly inFlight: number
  /** `beat` of the heartbeat whose response last renewed the instance's lease. */
  readonly renewedBeat: number
  /**
   * Milliseconds for which the instance has held a lease without a gap, by its own clock; 0 if it
   * holds no lease.
   */
  readonly heldMs: number
}

/** Heartbeat result; undefined if the row is gone. */
export interface PollAnswer {
  readonly epoch: number
  /** Tag of the last entry in the epoch history; empty when there is none. */
  readonly tag: string
  /** The epochs after the one that was asked for, as `isQuietSince` expects them. */
  readonly later: string
  readonly storeId: string
}

const NO_LEASE: GateErrorCode = 'LEASE_EXPIRED'

/** Heartbeat of an instance that has not reported yet. */
export const SILENT: Omit<Heartbeat, 'highEpoch'> = {
  ...{ beat: 0, ackedEpoch: -1, ackedTag: '', state: 'refusing', reason: NO_LEASE },
  ...{ lastSuccessAt: null, inFlight: 0, renewedBeat: 0, heldMs: 0 },
}

/** Columns in the order in which the MAC covers them. */
export const HEART_COLUMNS = [
  ...['beat', 'acked_epoch', 'acked_tag', 'high_epoch', 'state', 'reason'],
  ...['last_success_at', 'in_flight', 'renewed_beat', 'held_ms'],
] as const

/** Returns the values of HEART_COLUMNS, followed by a MAC over the values and their owner. */
export function sealHeart(
  sealing: Sealing,
  owner: HeartOwner,
  heart: Heartbeat,
): readonly SqlValue[] {
  const values = [
    ...[heart.beat, heart.ackedEpoch, heart.ackedTag, heart.highEpoch, heart.state, heart.reason],
    ...[heart.lastSuccessAt, heart.inFlight, heart.renewedBeat, heart.heldMs],
  ]
  // The MAC is made with the newest key, which tells `store rekey` that this instance has that key.
  return [...values, sealing.prove(fieldsOf(owner, values))]
}

function fieldsOf({ id, leaseMs }: HeartOwner, values: readonly SqlValue[]): readonly SqlValue[] {
  return ['instances', id, leaseMs, ...values]
}

/** Reports whether the instance that wrote this row has the newest key of the store. */
export function hasNewestKey(sealing: Sealing, owner: HeartOwner, row: Row): boolean {
  const values = HEART_COLUMNS.map((name) => column(row, name))
  return sealing.isProven(fieldsOf(owner, values), column(row, 'mac'))
}

/**
 * In one statement, reports the acknowledged epoch and reads the store's epoch, which is never
 * older than the call.
 * @param appliedEpoch the epoch after which to read the history (default: read none of it)
 */
export async function sendHeartbeat(
  { database, sealing }: Pick<Store, 'database' | 'sealing'>,
  me: HeartOwner,
  heart: Heartbeat,
  appliedEpoch = MAX_EPOCH,
): Promise<PollAnswer | undefined> {
  const now = database.nowSql
  const [row] = await database.heartbeat(
    `UPDATE instances SET seen_at = ${now}, acked_at = CASE WHEN acked_epoch = ? THEN acked_at ELSE ${now} END,
       ${[...HEART_COLUMNS, 'mac'].map((name) => `${name} = ?`).join(', ')}
     WHERE id = ?
     RETURNING (SELECT value FROM facts WHERE name = 'epoch') AS epoch,
       (SELECT tag FROM epochs ORDER BY epoch DESC LIMIT 1) AS tag,
       ${EPOCHS_AFTER} AS later,
       (SELECT value FROM facts WHERE name = 'store_id') AS store_id`,
    [heart.ackedEpoch, ...sealHeart(sealing, me, heart), me.id, appliedEpoch, appliedEpoch],
  )
  if (row === undefined) return undefined
  return {
    epoch: Number(column(row, 'epoch')),
    tag: String(column(row, 'tag') ?? ''),
    later: String(column(row, 'later') ?? ''),
    storeId: String(column(row, 'store_id')),
  }
}

/** Parses a row. A missing row, or one whose MAC does not verify, yields the SILENT values. */
export function parseHeart(
  sealing: Sealing,
  owner: HeartOwner,
  row: Row | undefined,
): Heartbeat & { readonly isGenuine: boolean } {
  if (row === undefined) return { ...SILENT, beat: -1, highEpoch: -1, isGenuine: false }
  const values = HEART_COLUMNS.map((name) => column(row, name))
  if (!sealing.isAuthentic(fieldsOf(owner, values), column(row, 'mac'))) {
    return { ...SILENT, beat: Number(column(row, 'beat')), highEpoch: -1, isGenuine: false }
  }
  const number = (name: (typeof HEART_COLUMNS)[number]) => Number(column(row, name))
  const reason = column(row, 'reason')
  const lastSuccessAt = column(row, 'last_success_at')
  return {
    beat: number('beat'),
    ackedEpoch: number('acked_epoch'),
    ackedTag: String(column(row, 'acked_tag')),
    highEpoch: number('high_epoch'),
    state: column(row, 'state') === 'open' ? 'open' : 'refusing',
    reason: reason === null ? null : String(reason),
    lastSuccessAt: lastSuccessAt === null ? null : Number(lastSuccessAt),
    inFlight: number('in_flight'),
    renewedBeat: number('renewed_beat'),
    heldMs: number('held_ms'),
    isGenuine: true,
  }
}
