/**
 * Keeps an instance's view of the control state up to date. Each read takes only the changes since
 * the last read, which are proven to be complete (store/feed.ts), so the cost of a poll does not
 * depend on the number of switches.
 */
// SPDX-License-Identifier: Apache-2.0
import { forEachInSlices } from '../../core/slices.ts'
import type { ExpectedQuery, Reader, Row } from '../../store/database.ts'
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
   * Returns the state within the caller's snapshot. An array that has not changed is the same
   * object as in the last call. Calls must not overlap.
   * @param state the sealed state that the caller read in this snapshot (default: read it)
   * @throws StorageError STORE_TAMPERED
   */
  read(reader: Reader, state?: SealedState): Promise<ControlState>
  /** Returns the queries that the next read sends after a kill; none if it reads everything. */
  expectKill(): readonly ExpectedQuery[]
  /** Discards the state, so that the next call reads everything again. */
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
      for (const rows of [switches, deadManSwitches, requests]) await rows.apply(changes)
      await commit()
      const { epoch, tag } = state
      return {
        ...{ epoch, mark: { epoch, tag } },
        ...{ switches: switches.all(), deadManSwitches: deadManSwitches.all() },
        requests: requests.all(),
      }
    },
    expectKill: () => feed.expect(SWITCHES),
    forget: feed.forget,
  }
}

/** An instance's view of the registrations. */
export interface RegistrationFeed {
  /**
   * Reports whether an instance is registered and not dismissed in a snapshot.
   * @throws StorageError STORE_TAMPERED
   */
  isListed(reader: Reader, state: SealedState, id: string): Promise<boolean>
  /**
   * Returns all registrations in a snapshot.
   * @throws StorageError STORE_TAMPERED
   */
  list(reader: Reader, state: SealedState): Promise<readonly Row[]>
  /** Returns the queries that the next call sends if instances have registered. */
  expectChange(): readonly ExpectedQuery[]
}

/**
 * This feed is separate because it has to read the whole table: a removed registration leaves no
 * record.
 */
export function createRegistrationFeed(store: Store): RegistrationFeed {
  const feed: Feed = store.feed(REGISTRATIONS)
  const rows = createRows(REGISTRATIONS, (row) => row)
  const follow = async (reader: Reader, state: SealedState) => {
    const { changes, commit } = await feed.read(reader, state)
    await rows.apply(changes)
    await commit()
  }
  return {
    async isListed(reader, state, id) {
      await follow(reader, state)
      return isRegistered(rows.find(id), id)
    },
    async list(reader, state) {
      await follow(reader, state)
      return rows.all()
    },
    expectChange: () => feed.expect(REGISTRATIONS),
  }
}

/** Number of rows parsed in one turn of the event loop. */
const SLICE = 100

/** Keeps the rows of a table by primary key, which in these tables has only one column. */
function createRows<T>(table: SealedTable, parse: (row: TableChange['put'][number]) => T) {
  const [key = ''] = table.key
  const byKey = new Map<string, T>()
  let list: readonly T[] | undefined = []
  return {
    async apply(changes: readonly TableChange[]): Promise<void> {
      const change = changes.find((one) => one.table === table)
      if (change === undefined) return
      if (change.isReset) byKey.clear()
      list = undefined
      for (const [removed] of change.removed) byKey.delete(String(removed))
      await forEachInSlices(change.put, SLICE, (row) => byKey.set(String(row[key]), parse(row)))
    },
    all: (): readonly T[] => (list ??= [...byKey.values()]),
    find(id: string): readonly T[] {
      const found = byKey.get(id)
      return found === undefined ? [] : [found]
    },
  }
}
