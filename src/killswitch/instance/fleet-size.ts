/**
 * Determines which registered instances are alive: those whose beat changes while we watch, by our
 * own clock.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { Database } from '../../store/database.ts'
import { listInstances, removeInstance, type Instance } from './instances.ts'
import { leaseEndMs } from '../operator/kill.ts'

export interface Fleet {
  /** Number of proxies: each `latchkey serve` counts once, with all its workers. */
  readonly groups: number
  /** Number of serving processes. */
  readonly instances: number
}

export interface FleetSize {
  /** Result of the last call to take(); one of each before the first. */
  readonly fleet: Fleet
  /**
   * Reads the instances, and removes those that were silent for longer than their lease can last.
   */
  take(): Promise<void>
}

/**
 * An instance is never removed sooner than this, however short its lease: a busy machine is not a
 * dead one.
 */
const LEAST_SILENCE_MS = 10_000

export function createFleetSize(database: Database, clock: Clock): FleetSize {
  let watched = new Map<string, { readonly beat: number; readonly since: number }>()
  let fleet: Fleet = { groups: 1, instances: 1 }

  /** Milliseconds since the beat last changed while we watched. */
  function silenceMs({ id, beat }: Instance, seenAt: number): number {
    const before = watched.get(id)
    return before?.beat === beat ? seenAt - before.since : 0
  }

  return {
    get fleet() {
      return fleet
    },
    async take() {
      const instances = await database.snapshot(listInstances)
      const now = clock.monotonic()
      const silences = new Map(instances.map((one) => [one.id, silenceMs(one, now)]))
      const alive = instances.filter((one) => (silences.get(one.id) ?? 0) < leaseEndMs(one.leaseMs))
      watched = new Map(
        instances.map(({ id, beat }) => [id, { beat, since: now - (silences.get(id) ?? 0) }]),
      )
      fleet = {
        groups: Math.max(1, new Set(alive.map(({ group }) => group)).size),
        instances: Math.max(1, alive.length),
      }
      for (const { id, beat, leaseMs } of instances) {
        if ((silences.get(id) ?? 0) > Math.max(LEAST_SILENCE_MS, leaseEndMs(leaseMs))) {
          await removeInstance(database, id, beat)
        }
      }
    },
  }
}
