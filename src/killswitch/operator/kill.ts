/**
 * Writes a kill switch for an operator. wait.ts waits until every instance refuses what the switch
 * blocks.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { drawFromKernel } from '../../core/kernel-random.ts'
import { toAscii } from '../../core/remark.ts'
import { type Direction, type Scope, describeScope, isSameScope } from '../../core/scope.ts'
import { StorageError } from '../../store/database.ts'
import { appendEvent } from '../../store/event-log.ts'
import type { SealedTransaction } from '../../store/sealed-transaction.ts'
import type { Store } from '../../store/store.ts'
import { loadInstances } from '../instance/instances.ts'
import type { Switch } from '../model.ts'
import { SwitchTable } from '../switch-table.ts'
import { pruneRequests, withdrawForKill } from './restore-requests.ts'
import type { PendingKill } from './waiting-fleet.ts'

export interface KillOrder {
  readonly scope: Scope
  readonly direction: Direction
  readonly reason: string
  readonly operator: string
  /** Wall time in milliseconds since the Unix epoch. */
  readonly until?: number
}

/** A kill that was committed, with what a caller needs to wait until it takes effect. */
export interface Kill extends PendingKill {
  readonly switch: Switch | undefined
  /**
   * False if a switch with the same scope, direction and expiry was already in force; that switch
   * is left unchanged.
   */
  readonly isNew: boolean
}

const ID_BYTES = 6

/**
 * Writes the switch in one durable transaction.
 * @throws StorageError, after which it is unknown whether the switch was written
 */
export async function kill(store: Store, clock: Clock, order: KillOrder): Promise<Kill> {
  const startedAt = clock.monotonic()
  try {
    const done = await store.change((transaction, epoch) => write(transaction, epoch))
    return { ...done, committedAt: clock.monotonic(), startedAt }
  } catch (error) {
    const { reason, operator } = order
    const ascii = { reason: toAscii(reason), operator: toAscii(operator) }
    const isAscii = ascii.reason === reason && ascii.operator === operator
    if (error instanceof StorageError && error.code === 'TEXT_REFUSED' && !isAscii) {
      return kill(store, clock, { ...order, ...ascii })
    }
    if (!(error instanceof StorageError && error.code === 'STORE_TAMPERED')) throw error
    // Nothing can be added to a store that was tampered with, but a raised epoch makes every
    // instance read the store and refuse everything.
    const mark = await store.bumpEpoch()
    const committedAt = clock.monotonic()
    return { switch: undefined, isNew: false, ...mark, committedAt, startedAt }
  }

  async function write(transaction: SealedTransaction, epoch: number) {
    const table = new SwitchTable(transaction, store.sealing)
    const same = (await table.switches()).find(
      (one) =>
        isSameScope(one.scope, order.scope) &&
        one.direction === order.direction &&
        one.until === order.until,
    )
    const { scope, direction, reason, operator, until } = order
    const made: Switch = same ?? {
      ...{ scope, direction, reason, operator },
      ...(until === undefined ? {} : { until }),
      id: drawFromKernel(ID_BYTES).toString('hex'),
      createdAt: clock.now(),
      epoch,
    }
    if (same === undefined) await table.insertSwitch(made)
    await appendEvent(transaction, store.sealing, {
      at: clock.now(),
      epoch,
      kind: same === undefined ? 'kill' : 'kill-again',
      operator: order.operator,
      detail: {
        switch: made.id,
        scope: describeScope(order.scope),
        direction: order.direction,
        reason: order.reason,
        ...(order.until === undefined ? {} : { until: new Date(order.until).toISOString() }),
      },
    })
    const change = { store, clock, transaction, epoch }
    await pruneRequests(table, change)
    await withdrawForKill(table, change, order)
    const { ledger } = transaction
    const registered = await loadInstances(transaction, store.sealing, ledger)
    return { switch: made, isNew: same === undefined, epoch, tag: ledger.tag, registered }
  }
}
