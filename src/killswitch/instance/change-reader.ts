/** Reads everything that an instance applies at a new epoch, in one snapshot of the store. */
// SPDX-License-Identifier: Apache-2.0
import type { ExpectedQuery, Reader } from '../../store/database.ts'
import { continues, expectHistory } from '../../store/epochs.ts'
import { KEY_RECORDS } from '../../store/keyring.ts'
import { readState, STATE_RECORDS } from '../../store/sealed-state.ts'
import type { Store } from '../../store/store.ts'
import { expectDatabaseNow, readDatabaseNow } from '../operator/restore-requests.ts'
import type { ControlState } from '../switch-table.ts'
import { createControlFeed, createRegistrationFeed } from './control-feed.ts'
import { createNewcomer, type HighWater } from './high-water.ts'
import type { InstanceIdentity } from './instances.ts'

export interface EpochFollower {
  /**
   * Reads in the same snapshot as the switches. Returns a function that prepares what was read and
   * returns a second function, which applies it. The poller calls the second function immediately,
   * before it acknowledges the epoch.
   */
  read(reader: Reader): Promise<() => Promise<() => void>>
  /** The queries that `read` sends, besides that of `readState`. */
  readonly expected: readonly ExpectedQuery[]
}

export interface FoundChanges {
  readonly state: ControlState
  /** Whether the store continues the history that this host has seen. */
  readonly goesOn: boolean
  /** Whether this instance is registered and not dismissed. */
  readonly isListed: boolean
  /** The database's wall clock, in milliseconds; 0 if there are no dead man's switches. */
  readonly now: number
  readonly prepare: (() => Promise<() => void>) | undefined
}

export interface ChangeReader {
  /**
   * Calls must not overlap.
   * @param epoch the store's epoch as the last heartbeat found it
   * @throws StorageError
   */
  read(epoch: number): Promise<FoundChanges>
  /** Call after quiet epochs, in which instances registered. */
  noteRegistrations(): void
  /** Makes the next call read everything again. */
  forget(): void
}

export function createChangeReader(deps: {
  readonly store: Store
  readonly me: InstanceIdentity
  readonly highWater: HighWater
  readonly follower?: EpochFollower | undefined
}): ChangeReader {
  const { store, me, highWater, follower } = deps
  const { database } = store
  const control = createControlFeed(store)
  const registrations = createRegistrationFeed(store)
  const isVouched = createNewcomer(me, highWater)
  let hasDeadManSwitches = false
  let hasRegistrations = false

  /**
   * Returns what a kill makes this instance read. A kill waits for all instances, so each of them
   * should need only one message.
   */
  function expectKill(epoch: number): readonly ExpectedQuery[] {
    const seen = highWater.mark
    const switches = control.expectKill()
    if (seen === undefined || switches.length === 0) return []
    // The heartbeat's epoch is not verified. If it is not an integer, the read itself must report that.
    if (!Number.isSafeInteger(epoch)) return []
    return [
      ...[KEY_RECORDS, STATE_RECORDS, ...switches, expectHistory(seen.epoch, epoch)],
      ...(hasRegistrations ? registrations.expectChange() : []),
      ...(hasDeadManSwitches ? [expectDatabaseNow(store)] : []),
      ...(follower?.expected ?? []),
    ]
  }

  async function readIn(reader: Reader): Promise<FoundChanges> {
    await store.refreshKeys(reader)
    const sealed = await readState(reader, store.sealing)
    const state = await control.read(reader, sealed)
    const seen = highWater.mark
    const goesOn =
      seen === undefined
        ? await isVouched(reader, store.sealing)
        : await continues(reader, store.sealing, state.mark, seen)
    const isListed = await registrations.isListed(reader, sealed, me.id)
    const now = state.deadManSwitches.length === 0 ? 0 : await readDatabaseNow(store, reader)
    const prepare = await follower?.read(reader)
    return { state, goesOn, isListed, now, prepare }
  }

  return {
    async read(epoch) {
      const found = await database.snapshot(readIn, expectKill(epoch))
      hasDeadManSwitches = found.state.deadManSwitches.length > 0
      hasRegistrations = false
      return found
    },
    noteRegistrations() {
      hasRegistrations = true
    },
    forget() {
      control.forget()
    },
  }
}
