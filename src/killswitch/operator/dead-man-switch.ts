/** A dead man's switch: a key store that is open only while its owner keeps renewing it. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { appendEvent } from '../../store/event-log.ts'
import type { Store } from '../../store/store.ts'
import { ControlError } from '../errors.ts'
import { SwitchTable } from '../switch-table.ts'
import type { LeasedAccess } from '../model.ts'

export interface LeaseOrder {
  readonly keyStore: string
  readonly reason: string
  readonly operator: string
}

/**
 * From now on the key store is open for `ttlMs`, and again with each renewal. Putting an open key store
 * under a lease is no restoration; taking it away again (`endLeasedAccess`) is one.
 */
export function startLeasedAccess(
  store: Store,
  clock: Clock,
  order: LeaseOrder & { readonly ttlMs: number },
): Promise<LeasedAccess> {
  return write(store, clock, order, 'lease-started', () => Promise.resolve(order.ttlMs))
}

/** @param ttlMs another time than before @throws ControlError NOTHING_KILLED when there is no lease */
export function renewLeasedAccess(
  store: Store,
  clock: Clock,
  order: LeaseOrder & { readonly ttlMs?: number },
): Promise<LeasedAccess> {
  return write(store, clock, order, 'lease-renewed', async (table) => {
    const before = await table.leasedAccess(order.keyStore)
    if (before === undefined) throw noLease(order.keyStore)
    return order.ttlMs ?? before.ttlMs
  })
}

/** Closes the key store now, and until it is renewed. @throws ControlError NOTHING_KILLED */
export function closeLeasedAccess(
  store: Store,
  clock: Clock,
  order: LeaseOrder,
): Promise<LeasedAccess> {
  return write(store, clock, order, 'lease-closed', async (table) => {
    const before = await table.leasedAccess(order.keyStore)
    if (before === undefined) throw noLease(order.keyStore)
    return { keptTtlMs: before.ttlMs }
  })
}

/** The key store is open without renewals again. @throws ControlError NOTHING_KILLED */
export async function endLeasedAccess(
  store: Store,
  clock: Clock,
  { keyStore, reason, operator }: LeaseOrder,
): Promise<void> {
  await store.change(async (transaction, epoch) => {
    const table = new SwitchTable(transaction, store.sealing)
    if ((await table.leasedAccess(keyStore)) === undefined) throw noLease(keyStore)
    await table.deleteLeasedAccess(keyStore)
    const detail = { keyStore, reason }
    const event = { at: clock.now(), epoch, kind: 'lease-ended', operator, detail }
    await appendEvent(transaction, store.sealing, event)
  })
}

async function write(
  store: Store,
  clock: Clock,
  { keyStore, reason, operator }: LeaseOrder,
  kind: string,
  findTtl: (table: SwitchTable) => Promise<number | { readonly keptTtlMs: number }>,
): Promise<LeasedAccess> {
  return store.change(async (transaction, epoch) => {
    const table = new SwitchTable(transaction, store.sealing)
    const ttl = await findTtl(table)
    const [row] = await transaction.query(`SELECT ${store.database.nowSql} AS now`)
    const now = Number(row?.['now'])
    const isOpen = typeof ttl === 'number'
    const leased: LeasedAccess = {
      keyStore,
      ttlMs: isOpen ? ttl : ttl.keptTtlMs,
      renewedAt: now,
      openUntil: isOpen ? now + ttl : now,
      reason,
      operator,
    }
    await table.writeLeasedAccess(leased)
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

function noLease(keyStore: string): ControlError {
  return new ControlError('NOTHING_KILLED', `access to ${keyStore} is not leased`)
}
