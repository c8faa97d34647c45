/** Loads an overview of the kill switch for operators. */
// SPDX-License-Identifier: Apache-2.0
import type { ControlEvent } from '../../store/event-log.ts'
import { readLastEvents } from '../../store/recent-events.ts'
import { findSealedFact } from '../../store/sealed-rows.ts'
import { LAST_BACKUP } from '../../store/sealed-tables.ts'
import type { Store } from '../../store/store.ts'
import { type Instance, loadInstances } from '../instance/instances.ts'
import { readState } from '../../store/sealed-state.ts'
import type { ControlState } from '../switch-table.ts'
import { type ControlOverview, type ControlView, loadOverview } from './control-lists.ts'

/**
 * Kind of event that the status leaves out. Heads of audit logs are recorded regularly and would
 * bury other events.
 */
const ROUTINE = 'audit-head'

export interface InstanceStatus extends Instance {
  /** Whether the instance refuses everything that the switches in force block. */
  readonly hasAcknowledged: boolean
  /** Milliseconds since the instance's last poll, by the database's clock. */
  readonly silentMs: number
}

export interface ControlStatus extends ControlState, Omit<ControlOverview, 'neededEpoch'> {
  readonly storeId: string
  readonly instances: readonly InstanceStatus[]
  /** The last backup that `store backup` made. Its date is a wall time in milliseconds. */
  readonly lastBackup?: { readonly createdAt: number; readonly epoch: number }
  /** Newest first. */
  readonly events: readonly ControlEvent[]
}

/** The part of the status that a caller may see, and how much of it to return. */
export interface StatusView extends ControlView {
  /** Events that the caller may see (default: every event). */
  readonly isVisible?: (event: ControlEvent) => boolean
  /** Maximum number of events to examine, starting with the newest. */
  readonly examined?: number
}

/** Most of the examined events are usually routine ones, which the status leaves out. */
const EXAMINED_EVENTS = 10_000

/**
 * @param view what to load (default: everything)
 * @throws StorageError
 */
export function loadStatus(
  store: Store,
  recentEvents: number,
  view: StatusView = {},
): Promise<ControlStatus> {
  const query = {
    count: recentEvents,
    isWanted: (event: ControlEvent) => event.kind !== ROUTINE && view.isVisible?.(event) !== false,
    examined: view.examined ?? Math.max(EXAMINED_EVENTS, recentEvents),
  }
  return store.database.snapshot(async (reader) => {
    const { sealing } = store
    const { epoch, tag } = await readState(reader, sealing)
    const [row] = await reader.query(`SELECT ${store.database.nowSql} AS now`)
    const now = Number(row?.['now'])
    const { neededEpoch, ...overview } = await loadOverview({ reader, sealing, now }, view)
    const instances = await loadInstances(reader, store.sealing)
    // During `store rekey`, instances may sign with a key that this handle has not loaded yet. The
    // key is loaded in the background, because the master key's token may be slow.
    if (instances.some(({ isGenuine }) => !isGenuine)) {
      void store.loadNextKey().catch(() => undefined)
    }
    const backup = await findSealedFact(reader, store.sealing, LAST_BACKUP)
    const events = await readLastEvents(reader, store.sealing, query)
    return {
      ...{ epoch, mark: { epoch, tag } },
      ...overview,
      storeId: store.id,
      ...(backup === undefined
        ? {}
        : { lastBackup: JSON.parse(backup) as NonNullable<ControlStatus['lastBackup']> }),
      instances: instances.map((one) => ({
        ...one,
        hasAcknowledged: one.ackedEpoch >= neededEpoch,
        silentMs: Math.max(0, now - one.seenAt),
      })),
      events: [...events].reverse(),
    }
  })
}
