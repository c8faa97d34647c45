/**
 * Determines which registered instances are alive: those whose beat changes while we watch,
 * measured by our own clock.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { Reader } from '../../store/database.ts'
import type { Store } from '../../store/store.ts'
import type { GateErrorCode } from '../model.ts'
import { leaseEndMs } from '../operator/waiting-fleet.ts'
import { dismissInstances, type Instance, loadInstances, removeRow } from './instances.ts'

export interface Fleet {
  /** Number of proxies: each `latchkey serve` counts once, with all its workers. */
  readonly groups: number
  /** Number of serving processes. */
  readonly instances: number
}

export interface FleetSize {
  /** Result of the last call to take(); one of each before the first. */
  readonly fleet: Fleet
  /** Whether an instance reported that the store was changed from outside, as of the last take(). */
  readonly isAlarmed: boolean
  /**
   * Reads the instances. Dismisses those that were silent for longer than their lease can last, and
   * removes those that have stayed dismissed for as long again.
   */
  take(): Promise<void>
}

/**
 * An instance is never dismissed sooner than this, however short its lease: a busy machine is not a
 * dead one.
 */
const LEAST_SILENCE_MS = 10_000
/** How many times longer all other instances wait before they also dismiss an instance. */
const OTHERS_PATIENCE = 3
const LOST: GateErrorCode = 'STORE_LOST'

interface Watched {
  readonly beat: number
  /** Monotonic milliseconds at which this beat was first seen. */
  readonly since: number
  readonly registeredEpoch: number
  /** Monotonic milliseconds at which this registration was first seen. */
  readonly registeredSince: number
}

/**
 * @param me id of this instance; without one, it dismisses others regardless of what the rest of
 * the fleet does
 */
export function createFleetSize(store: Store, clock: Clock, me?: string): FleetSize {
  let watched = new Map<string, Watched>()
  let fleet: Fleet = { groups: 1, instances: 1 }
  let isAlarmed = false

  function watch({ id, beat, registeredEpoch }: Instance, now: number): Watched {
    const before = watched.get(id)
    const isSame = before?.registeredEpoch === registeredEpoch
    return {
      ...{ beat, registeredEpoch },
      since: before?.beat === beat ? before.since : now,
      registeredSince: isSame ? before.registeredSince : now,
    }
  }

  return {
    get fleet() {
      return fleet
    },
    get isAlarmed() {
      return isAlarmed
    },
    async take() {
      const load = (reader: Reader) => loadInstances(reader, store.sealing)
      const instances = await store.database.snapshot(load)
      const now = clock.monotonic()
      watched = new Map(instances.map((one) => [one.id, watch(one, now)]))
      const silenceMs = ({ id }: Instance) => now - (watched.get(id)?.since ?? now)
      const unchangedMs = ({ id }: Instance) => now - (watched.get(id)?.registeredSince ?? now)
      const alive = instances.filter((one) => silenceMs(one) < leaseEndMs(one.leaseMs))
      fleet = {
        groups: Math.max(1, new Set(alive.map(({ group }) => group)).size),
        instances: Math.max(1, alive.length),
      }
      isAlarmed = alive.some(({ isGenuine, reason }) => isGenuine && reason === LOST)
      // One instance is enough to dismiss the dead ones. The others step in if it does not.
      const first = alive.reduce((least, { id }) => (id < least ? id : least), me ?? '')
      const patience = me === undefined || me === first ? 1 : OTHERS_PATIENCE
      const isSilent = (one: Instance) =>
        silenceMs(one) > patience * Math.max(LEAST_SILENCE_MS, leaseEndMs(one.leaseMs))
      const registered = instances.filter(({ registeredEpoch }) => registeredEpoch >= 0)
      for (const one of instances) {
        if (one.registeredEpoch < 0 && isSilent(one)) await removeRow(store, one)
      }
      await dismissInstances(store, {
        silent: registered.filter((one) => !one.isDismissed && isSilent(one)),
        over: registered.filter(
          (one) => one.isDismissed && unchangedMs(one) > patience * leaseEndMs(one.leaseMs),
        ),
      })
    },
  }
}
