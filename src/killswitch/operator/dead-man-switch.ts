/** A dead man's switch: a key store that is open only while its owner keeps renewing it. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { appendEvent } from '../../store/event-log.ts'
import type { Store } from '../../store/store.ts'
import { ControlError } from '../errors.ts'
import { SwitchTable } from '../switch-table.ts'
import type { DeadManSwitch } from '../model.ts'

export interface DeadManOrder {
  readonly keyStore: string
  readonly reason: string
  readonly operator: string
}

/**
 * From now on the key store is open for `ttlMs`, and again with each renewal. Putting an open key store
 * under a lease is no restoration; taking it away again (`endDeadManSwitch`) is one.
 */
export function startDeadManSwitch(
  store: Store,
  clock: Clock,
  order: DeadManOrder & { readonly ttlMs: number },
): Promise<DeadManSwitch> {
  return write(store, clock, order, 'deadman-started', () => Promise.resolve(order.ttlMs))
}

/** @param ttlMs another time than before @throws ControlError NOTHING_KILLED when there is no lease */
export function renewDeadManSwitch(
  store: Store,
  clock: Clock,
  order: DeadManOrder & { readonly ttlMs?: number },
): Promise<DeadManSwitch> {
  return write(store, clock, order, 'deadman-renewed', async (table) => {
    const before = await table.deadManSwitch(order.keyStore)
    if (before === undefined) throw noSwitch(order.keyStore)
    return order.ttlMs ?? before.ttlMs
  })
}

/** Closes the key store now, and until it is renewed. @throws ControlError NOTHING_KILLED */
export function closeDeadManSwitch(
  store: Store,
  clock: Clock,
  order: DeadManOrder,
): Promise<DeadManSwitch> {
  return write(store, clock, order, 'deadman-closed', async (table) => {
    const before = await table.deadManSwitch(order.keyStore)
    if (before === undefined) throw noSwitch(order.keyStore)
    return { keptTtlMs: before.ttlMs }
  })
}

/** The key store is open without renewals again. @throws ControlError NOTHING_KILLED */
export async function endDeadManSwitch(
  store: Store,
  clock: Clock,
  { keyStore, reason, operator }: DeadManOrder,
): Promise<void> {
  await store.change(async (transaction, epoch) => {
    const table = new SwitchTable(transaction, store.sealing)
    if ((await table.deadManSwitch(keyStore)) === undefined) throw noSwitch(keyStore)
    await table.deleteDeadManSwitch(keyStore)
    const detail = { keyStore, reason }
    const event = { at: clock.now(), epoch, kind: 'deadman-ended', operator, detail }
    await appendEvent(transaction, store.sealing, event)
  })
}

async function write(
  store: Store,
  clock: Clock,
  { keyStore, reason, operator }: DeadManOrder,
  kind: string,
  findTtl: (table: SwitchTable) => Promise<number | { readonly keptTtlMs: number }>,
): Promise<DeadManSwitch> {
  return store.change(async (transaction, epoch) => {
    const table = new SwitchTable(transaction, store.sealing)
    const ttl = await findTtl(table)
    const [row] = await transaction.query(`SELECT ${store.database.nowSql} AS now`)
    const now = Number(row?.['now'])
    const isOpen = typeof ttl === 'number'
    const leased: DeadManSwitch = {
      keyStore,
      ttlMs: isOpen ? ttl : ttl.keptTtlMs,
      renewedAt: now,
      openUntil: isOpen ? now + ttl : now,
      reason,
      operator,
    }
    await table.writeDeadManSwitch(leased)
    const openUntil = new Date(leased.openUntil).toISOString()
    const event = {
      at: clock.now(),
      epoch,
      kind,
      operator,
      detail: { keyStore, reason, openUntil },
    }
    await appendEvent(transaction, store.sealing, event)
    return leased
  })
}

function noSwitch(keyStore: string): ControlError {
  return new ControlError('NOTHING_KILLED', `the key store ${keyStore} has no dead man's switch`)
}
