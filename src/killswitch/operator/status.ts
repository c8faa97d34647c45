/** Everything that an operator wants to know about the kill switch at a glance. */
// SPDX-License-Identifier: Apache-2.0
import { type ControlEvent, readEvents } from '../../store/event-log.ts'
import { findSealedFact } from '../../store/sealed-rows.ts'
import { LAST_BACKUP } from '../../store/sealed-tables.ts'
import type { Store } from '../../store/store.ts'
import { type Instance, loadInstances } from '../instance/instances.ts'
import { type ControlState, loadControlState } from '../switch-table.ts'

/**
 * Kind of event that the status leaves out: heads of audit logs are recorded regularly and would
 * bury the others.
 */
const ROUTINE = 'audit-head'

export interface InstanceStatus extends Instance {
  /** The instance refuses what every switch in force blocks. */
  readonly hasAcknowledged: boolean
  /** Milliseconds since the instance's last poll, by the database's clock. */
  readonly silentMs: number
}

export interface ControlStatus extends ControlState {
  readonly storeId: string
  readonly instances: readonly InstanceStatus[]
  /** The last backup by `store backup`; times are wall clock, in milliseconds. */
  readonly lastBackup?: { readonly createdAt: number; readonly epoch: number }
  /** Newest first. */
  readonly events: readonly ControlEvent[]
}

/** @throws StorageError */
export function loadStatus(store: Store, recentEvents: number): Promise<ControlStatus> {
  return store.database.snapshot(async (reader) => {
    const state = await loadControlState(reader, store.sealing)
    const instances = await loadInstances(reader, store.sealing)
    const backup = await findSealedFact(reader, store.sealing, LAST_BACKUP)
    const [row] = await reader.query(`SELECT ${store.database.nowSql} AS now`)
    const now = Number(row?.['now'])
    const needed = Math.max(-1, ...state.switches.map(({ epoch }) => epoch))
    return {
      ...state,
      storeId: store.id,
      ...(backup === undefined
        ? {}
        : { lastBackup: JSON.parse(backup) as NonNullable<ControlStatus['lastBackup']> }),
      instances: instances.map((one) => ({
        ...one,
        hasAcknowledged: one.ackedEpoch >= needed,
        silentMs: Math.max(0, now - one.seenAt),
      })),
      events: (await readEvents(reader, store.sealing))
        .filter(({ kind }) => kind !== ROUTINE)
        .slice(-recentEvents)
        .reverse(),
    }
  })
}
