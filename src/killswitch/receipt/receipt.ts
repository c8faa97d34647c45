/** The receipt of a revocation: what was stopped, by whom, and what each instance reported. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { appendEvent, type ControlEvent } from '../../store/event-log.ts'
import { findProvable, readLastEvents } from '../../store/recent-events.ts'
import type { Store } from '../../store/store.ts'
import { ControlError } from '../model.ts'
import type { Direction, Scope } from '../../core/scope.ts'
import { SwitchTable } from '../switch-table.ts'
import type { Kill, KillOrder } from '../operator/kill.ts'
import type { InstanceOutcome, Revocation } from '../operator/waiting-fleet.ts'
import type { Signed } from '../../core/signature.ts'
import { openControlLogKey, proveEvent, proveWritten } from './control-log.ts'

/** Times are wall clock, in milliseconds since the Unix epoch; durations come from a monotonic clock. */
export interface Receipt {
  readonly kind: 'revocation'
  /** Id of the switch. */
  readonly id: string
  readonly storeId: string
  readonly scope: Scope
  readonly direction: Direction
  readonly reason: string
  readonly operator: string
  /** Every instance that acknowledged this epoch or a later one refuses what the switch blocks. */
  readonly epoch: number
  /**
   * Time at which the switch was first written. Killing the same scope again does not change it.
   */
  readonly killedAt: number
  /** Time at which this revocation was known to be complete. */
  readonly revokedAt: number
  /** Milliseconds from the call until the revocation was complete. */
  readonly timeToRevokeMs: number
  readonly instances: readonly InstanceOutcome[]
  /**
   * Time of the last response with data, according to the instances that reported one; null if none
   * did.
   */
  readonly lastSuccessAt: number | null
  /**
   * Number of requests that were between the gate's two checks when their instance acknowledged the
   * epoch. None of them was granted afterwards.
   */
  readonly inFlight: number
}

/** A receipt as it is printed and given to auditors. */
export interface SignedReceipt extends Signed<Receipt> {
  /**
   * Proof that the control log contains the receipt (docs/audit.md), as text for `latchkey audit
   * check-proof`.
   */
  readonly proof?: string
}

/**
 * Creates the receipt of a revocation. Returns undefined if the switch could not be written, or if
 * an instance has not responded.
 * @param now wall clock
 */
export function toReceipt(
  storeId: string,
  order: KillOrder,
  kill: Kill,
  revocation: Revocation,
  now: number,
): Receipt | undefined {
  if (kill.switch === undefined || !revocation.isComplete) return undefined
  const { instances } = revocation
  const successes = instances.flatMap(({ lastSuccessAt }) => lastSuccessAt ?? [])
  return {
    kind: 'revocation',
    id: kill.switch.id,
    storeId,
    scope: order.scope,
    direction: order.direction,
    reason: order.reason,
    operator: order.operator,
    epoch: revocation.epoch,
    killedAt: kill.switch.createdAt,
    revokedAt: now,
    timeToRevokeMs: Math.round(revocation.elapsedMs),
    instances: instances.map((one) => ({ ...one, afterMs: Math.round(one.afterMs) })),
    lastSuccessAt: successes.length === 0 ? null : Math.max(...successes),
    inFlight: instances.reduce((sum, { inFlight }) => sum + inFlight, 0),
  }
}

/** Kind of the event that holds a receipt. */
export const REVOKED = 'revoked'

/**
 * Stores the receipt only if its switch is still in force, which the same transaction checks.
 * @returns the receipt with its proof
 * @throws StorageError, ControlError RESTORED_MEANWHILE
 */
export async function recordReceipt(
  store: Store,
  clock: Clock,
  signed: Signed<Receipt>,
): Promise<SignedReceipt> {
  const { operator, id } = signed.statement
  const event = await store.change(async (transaction, epoch) => {
    const table = new SwitchTable(transaction, store.sealing)
    if (!(await table.switches()).some((one) => one.id === id)) {
      throw new ControlError(
        'RESTORED_MEANWHILE',
        'the switch was lifted before its receipt was stored',
        {
          hint: 'run latchkey status to see who lifted it; kill again if that was a mistake',
        },
      )
    }
    return appendEvent(transaction, store.sealing, {
      at: clock.now(),
      epoch,
      kind: REVOKED,
      operator,
      detail: { ...signed },
    })
  })
  return { ...signed, proof: proveWritten(await openControlLogKey(store), event) }
}

export interface ReceiptQuery {
  readonly count: number
  /** Maximum number of events to search, starting with the newest (default: all). */
  readonly examined?: number
  readonly isVisible: (receipt: SignedReceipt) => boolean
}

/**
 * Returns receipts, newest first, without proofs. Reads the log in slices, so that other work can
 * run in between.
 * @throws StorageError
 */
export async function listReceipts(
  store: Store,
  { count, examined, isVisible }: ReceiptQuery = { count: Infinity, isVisible: () => true },
): Promise<readonly SignedReceipt[]> {
  const isWanted = (event: ControlEvent) => event.kind === REVOKED && isVisible(toReceiptOf(event))
  const events = await store.database.snapshot((reader) =>
    readLastEvents(reader, store.sealing, {
      ...{ count, isWanted },
      ...(examined === undefined ? {} : { examined }),
    }),
  )
  return events.map(toReceiptOf).reverse()
}

/** Like listReceipts, but returns the newest receipt of a switch, with its proof. */
export async function findReceipt(
  store: Store,
  switchId: string,
): Promise<SignedReceipt | undefined> {
  const isWanted = (event: ControlEvent) =>
    event.kind === REVOKED && toReceiptOf(event).statement.id === switchId
  const found = await store.database.snapshot((reader) =>
    findProvable(reader, store.sealing, isWanted),
  )
  if (found === undefined) return undefined
  const proof = await proveEvent(await openControlLogKey(store), found)
  return { ...toReceiptOf(found.event), proof }
}

function toReceiptOf({ detail }: ControlEvent): Signed<Receipt> {
  return detail as unknown as Signed<Receipt>
}
