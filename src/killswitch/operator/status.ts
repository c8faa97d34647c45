/** Everything about the kill switch that a person wants to see at once. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { type ControlEvent, appendEvent, readEvents } from '../../store/event-log.ts'
import type { Store } from '../../store/store.ts'
import { type Instance, listInstances } from '../instance/instances.ts'
import { type ControlState, loadControlState } from '../switch-table.ts'

export interface InstanceStatus extends Instance {
  /** It refuses what every switch in force blocks. */
  readonly hasAcknowledged: boolean
  /** Milliseconds since its last poll, by the clock of the database. */
  readonly silentMs: number
}

export interface ControlStatus extends ControlState {
  readonly storeId: string
  readonly instances: readonly InstanceStatus[]
  /** Newest first. */
  readonly events: readonly ControlEvent[]
}

/** @throws StorageError */
export function loadStatus(store: Store, recentEvents: number): Promise<ControlStatus> {
  return store.database.snapshot(async (reader) => {
    const state = await loadControlState(reader, store.sealing)
    const instances = await listInstances(reader)
    const [row] = await reader.query(`SELECT ${store.database.nowSql} AS now`)
    const now = Number(row?.['now'])
    const needed = Math.max(-1, ...state.switches.map(({ epoch }) => epoch))
    return {
      ...state,
      storeId: store.id,
      instances: instances.map((one) => ({
        ...one,
        hasAcknowledged: one.ackedEpoch >= needed,
        silentMs: Math.max(0, now - one.seenAt),
      })),
      events: (await readEvents(reader, store.sealing)).slice(-recentEvents).reverse(),
    }
  })
}

/**
 * Raises the epoch above what any running instance has seen, and marks it as one to go on from. A host
 * that was down meanwhile and has seen more refuses when it comes back; then this is run again.
 * @returns the new epoch
 */
export async function acceptEpoch(
  store: Store,
  clock: Clock,
  { operator, reason }: { readonly operator: string; readonly reason: string },
): Promise<number> {
  const instances = await store.database.snapshot(listInstances)
  const highest = Math.max(0, ...instances.map(({ highEpoch }) => highEpoch))
  return store.change(
    async (transaction, epoch) => {
      const event = { at: clock.now(), epoch, kind: 'epoch-accepted', operator, detail: { reason } }
      await appendEvent(transaction, store.sealing, event)
      return epoch
    },
    { minEpoch: highest + 1, acceptsAny: true },
  )
}
