/**
 * The control state as an instance follows it: the changes since the last read, proven to be
 * complete (store/feed.ts). So the cost of a poll does not depend on the number of switches.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Reader } from '../../store/database.ts'
import type { Feed, TableChange } from '../../store/feed.ts'
import {
  DEAD_MAN_SWITCHES,
  REGISTRATIONS,
  RESTORATIONS,
  type SealedTable,
  SWITCHES,
} from '../../store/sealed-tables.ts'
import type { SealedState } from '../../store/sealed-state.ts'
import type { Store } from '../../store/store.ts'
import type { DeadManSwitch, Switch } from '../model.ts'
import {
  type ControlState,
  parseDeadManSwitch,
  parseRequest,
  parseSwitch,
  type RestoreRequest,
} from '../switch-table.ts'
import { isRegistered } from './instances.ts'

export interface ControlFeed {
  /**
   * Returns the state within a snapshot of the caller. An array that has not changed is the one that
   * the last call returned. Calls must not overlap.
   * @param state what the caller has read of the same snapshot (default: read it)
   * @throws StorageError STORE_TAMPERED
   */
  read(reader: Reader, state?: SealedState): Promise<ControlState>
  /** The next call reads everything again. */
  forget(): void
}

export function createControlFeed(store: Store): ControlFeed {
  const feed = store.feed(SWITCHES, DEAD_MAN_SWITCHES, RESTORATIONS)
  const switches = createRows<Switch>(SWITCHES, parseSwitch)
  const deadManSwitches = createRows<DeadManSwitch>(DEAD_MAN_SWITCHES, parseDeadManSwitch)
  const requests = createRows<RestoreRequest>(RESTORATIONS, parseRequest)
  return {
    async read(reader, known) {
      const { state, changes, commit } = await feed.read(reader, known)
      for (const rows of [switches, deadManSwitches, requests]) rows.apply(changes)
      commit()
      const { epoch, tag } = state
      return {
        ...{ epoch, mark: { epoch, tag } },
        ...{ switches: switches.all(), deadManSwitches: deadManSwitches.all() },
        requests: requests.all(),
      }
    },
    forget: feed.forget,
  }
}

/** Reports whether an instance is registered and not dismissed, as of a snapshot. */
export interface RegistrationFeed {
  /** @throws StorageError STORE_TAMPERED */
  isListed(reader: Reader, state: SealedState, id: string): Promise<boolean>
}

/** A separate feed: a removed registration leaves no record, so the whole table is read. */
export function createRegistrationFeed(store: Store): RegistrationFeed {
  const feed: Feed = store.feed(REGISTRATIONS)
  const rows = createRows(REGISTRATIONS, (row) => row)
  return {
    async isListed(reader, state, id) {
      const { changes, commit } = await feed.read(reader, state)
      rows.apply(changes)
      commit()
      return isRegistered(rows.find(id), id)
    },
  }
}

/** A table's rows by the first column of their primary key, which is the only one here. */
function createRows<T>(table: SealedTable, parse: (row: TableChange['put'][number]) => T) {
  const [key = ''] = table.key
  const byKey = new Map<string, T>()
  let list: readonly T[] | undefined = []
  return {
    apply(changes: readonly TableChange[]): void {
      const change = changes.find((one) => one.table === table)
      if (change === undefined) return
      if (change.isReset) byKey.clear()
      for (const [removed] of change.removed) byKey.delete(String(removed))
      for (const row of change.put) byKey.set(String(row[key]), parse(row))
      list = undefined
    },
    all: (): readonly T[] => (list ??= [...byKey.values()]),
    find(id: string): readonly T[] {
      const found = byKey.get(id)
      return found === undefined ? [] : [found]
    },
  }
}
