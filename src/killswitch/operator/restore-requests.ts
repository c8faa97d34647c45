/**
 * Closes restore requests that have expired, or that are withdrawn because of a later kill or a
 * later closing of the key store.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { ExpectedQuery, Reader } from '../../store/database.ts'
import type { SealedTransaction } from '../../store/sealed-transaction.ts'
import { appendEvent } from '../../store/event-log.ts'
import type { Store } from '../../store/store.ts'
import { type Scope, isSameScope } from '../../core/scope.ts'
import type { SwitchTable } from '../switch-table.ts'

export interface Change {
  readonly store: Store
  readonly clock: Clock
  readonly transaction: SealedTransaction
  readonly epoch: number
}

/** Returns the query of `readDatabaseNow`. */
export function expectDatabaseNow({ database }: Pick<Store, 'database'>): ExpectedQuery {
  return { sql: `SELECT ${database.nowSql} AS now`, parameters: [] }
}

export async function readDatabaseNow(
  store: Pick<Store, 'database'>,
  reader: Reader,
): Promise<number> {
  const [row] = await reader.query(expectDatabaseNow(store).sql)
  return Number(row?.['now'])
}

export async function withdrawRequests(
  table: SwitchTable,
  { store, clock, transaction, epoch }: Change,
  by: {
    readonly ids: readonly string[]
    readonly operator: string
    readonly reason: string
    readonly kind?: 'restore-expired'
  },
): Promise<void> {
  const { operator, reason, kind = 'restore-withdrawn' } = by
  for (const id of by.ids) {
    await table.deleteRequest(id)
    const event = { at: clock.now(), epoch, kind, operator, detail: { request: id, reason } }
    await appendEvent(transaction, store.sealing, event)
  }
}

/** Removes expired requests, and requests in an earlier format. */
export async function pruneRequests(table: SwitchTable, change: Change): Promise<void> {
  const now = change.clock.now()
  const over = (await table.requests()).filter(({ expiresAt }) => now >= expiresAt)
  await withdrawRequests(table, change, {
    ids: over.map(({ id }) => id),
    operator: 'latchkey',
    reason: 'the request was not approved in time',
    kind: 'restore-expired',
  })
  await withdrawRequests(table, change, {
    ids: await table.takeOldRequests(),
    operator: 'latchkey',
    reason: 'the request was created by an earlier release and has no identity or epoch',
  })
}

/**
 * A kill means that the scope must stay stopped, so every earlier request must be made again.
 * Otherwise an older approval would lift the switch, because a second kill of the same scope keeps
 * the existing switch.
 */
export async function withdrawForKill(
  table: SwitchTable,
  change: Change,
  { scope, operator }: { readonly scope: Scope; readonly operator: string },
): Promise<void> {
  const same = (await table.switches()).filter((one) => isSameScope(one.scope, scope))
  const ids = new Set(same.map(({ id }) => id))
  const over = (await table.requests()).filter(({ target }) =>
    target.kind === 'switches'
      ? target.switchIds.some((id) => ids.has(id))
      : scope.kind === 'all' || (scope.kind === 'key-store' && scope.keyStore === target.keyStore),
  )
  const reason = 'the same scope was killed after the request was made'
  await withdrawRequests(table, change, { ids: over.map(({ id }) => id), operator, reason })
}

/** Withdraws earlier requests for a key store that was closed by its dead man's switch. */
export async function withdrawForClosing(
  table: SwitchTable,
  change: Change,
  { keyStore, operator }: { readonly keyStore: string; readonly operator: string },
): Promise<void> {
  const over = (await table.requests()).filter(
    ({ target }) => target.kind !== 'switches' && target.keyStore === keyStore,
  )
  const reason = 'the key store was closed after the request was made'
  await withdrawRequests(table, change, { ids: over.map(({ id }) => id), operator, reason })
}
