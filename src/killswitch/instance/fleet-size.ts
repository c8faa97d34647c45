/**
 * Determines which registered instances are alive. An instance is alive if its heartbeats keep
 * arriving while we watch, as timed by our own clock.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { Row } from '../../store/database.ts'
import { column } from '../../store/sealed-rows.ts'
import { readState, STATE_RECORDS } from '../../store/sealed-state.ts'
import type { Store } from '../../store/store.ts'
import type { GateErrorCode } from '../model.ts'
import { leaseEndMs } from '../operator/waiting-fleet.ts'
import { createRegistrationFeed } from './control-feed.ts'
import { dismissInstances } from './dismissal.ts'
import { type Instance, readBeats, readInstances, removeRow } from './instances.ts'

export interface Fleet {
  /** Number of proxies: each `latchkey serve` counts once, with all its workers. */
  readonly groups: number
  /** Number of serving processes. */
  readonly instances: number
}

export interface FleetSize {
  /** Result of the last call to take(). Before the first call, it is one proxy with one process. */
  readonly fleet: Fleet
  /** Whether the last take() found a report that the store was changed from outside. */
  readonly isAlarmed: boolean
  /**
   * Reads the instances. Dismisses those that were silent for longer than their lease can last, and
   * removes those that have stayed dismissed for as long again.
   */
  take(): Promise<void>
}

/**
 * Minimum silence before an instance is dismissed, even if its lease is short, because an instance
 * on a busy machine may merely be slow.
 */
const LEAST_SILENCE_MS = 10_000
/**
 * One instance dismisses silent instances first. All other instances wait longer by this factor.
 */
const OTHERS_PATIENCE = 3
const LOST: GateErrorCode = 'STORE_LOST'

/** The fields of an instance that its registration and its heartbeat provide. */
type Member = Pick<
  Instance,
  'id' | 'group' | 'leaseMs' | 'beat' | 'registeredEpoch' | 'isDismissed'
>

interface Watched {
  readonly beat: number
  /** Monotonic time, in milliseconds, at which this heartbeat was first seen. */
  readonly since: number
  readonly registeredEpoch: number
  /** Monotonic time, in milliseconds, at which this registration was first seen. */
  readonly registeredSince: number
}

/**
 * @param me id of this instance; if absent, silent instances are dismissed without waiting for
 * another instance to do so
 */
export function createFleetSize(store: Store, clock: Clock, me?: string): FleetSize {
  let watched = new Map<string, Watched>()
  let fleet: Fleet = { groups: 1, instances: 1 }
  let isAlarmed = false

  function watch({ id, beat, registeredEpoch }: Member, now: number): Watched {
    const before = watched.get(id)
    const isSame = before?.registeredEpoch === registeredEpoch
    return {
      ...{ beat, registeredEpoch },
      since: before?.beat === beat ? before.since : now,
      registeredSince: isSame ? before.registeredSince : now,
    }
  }

  const feed = createRegistrationFeed(store)
  let registrations: ReadonlyMap<string, Row> = new Map()
  /** Epoch at which the registrations were read; only a later epoch can change them. */
  let listedEpoch = NaN

  async function list(): Promise<void> {
    const changed = feed.expectChange()
    const expected = changed.length === 0 ? [] : [STATE_RECORDS, ...changed]
    await store.database.snapshot(async (reader) => {
      const state = await readState(reader, store.sealing)
      const rows = await feed.list(reader, state)
      registrations = new Map(rows.map((row) => [String(column(row, 'id')), row]))
      listedEpoch = state.epoch
    }, expected)
  }

  /**
   * Reads only the heartbeats, and also the registrations once they may have changed. Every
   * instance of a large fleet does this repeatedly, so it must be cheap.
   */
  async function read() {
    const { epoch, beats } = await readBeats(store)
    if (epoch !== listedEpoch) await list()
    const found = new Map(beats.map(({ id, beat }) => [id, beat]))
    const registered = [...registrations].map(([id, row]) => toMember(row, found.get(id) ?? -1))
    const unregistered = beats.filter(({ id }) => !registrations.has(id)).map(({ id }) => id)
    const members: readonly Member[] = [
      ...registered,
      ...(await readInstances(store, unregistered, registrations)),
    ]
    return { members, saysLost: beats.filter((one) => one.saysLost).map(({ id }) => id) }
  }

  return {
    get fleet() {
      return fleet
    },
    get isAlarmed() {
      return isAlarmed
    },
    async take() {
      const { members, saysLost } = await read()
      const now = clock.monotonic()
      watched = new Map(members.map((one) => [one.id, watch(one, now)]))
      const silenceMs = ({ id }: Member) => now - (watched.get(id)?.since ?? now)
      const unchangedMs = ({ id }: Member) => now - (watched.get(id)?.registeredSince ?? now)
      const alive = members.filter((one) => silenceMs(one) < leaseEndMs(one.leaseMs))
      fleet = {
        groups: Math.max(1, new Set(alive.map(({ group }) => group)).size),
        instances: Math.max(1, alive.length),
      }
      const ids = new Set(alive.map(({ id }) => id))
      const suspects = saysLost.filter((id) => ids.has(id))
      const reports = await readInstances(store, suspects, registrations)
      isAlarmed = reports.some(({ isGenuine, reason }) => isGenuine && reason === LOST)
      // One instance is enough to dismiss the dead instances. The other instances step in if it
      // does not.
      const first = alive.reduce((least, { id }) => (id < least ? id : least), me ?? '')
      const patience = me === undefined || me === first ? 1 : OTHERS_PATIENCE
      const isSilent = (one: Member) =>
        silenceMs(one) > patience * Math.max(LEAST_SILENCE_MS, leaseEndMs(one.leaseMs))
      const registered = members.filter(({ registeredEpoch }) => registeredEpoch >= 0)
      for (const one of members) {
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

function toMember(registration: Row, beat: number): Member {
  return {
    id: String(column(registration, 'id')),
    group: String(column(registration, 'grp')),
    leaseMs: Number(column(registration, 'lease_ms')),
    registeredEpoch: Number(column(registration, 'changed_epoch')),
    isDismissed: column(registration, 'dismissed') !== 0,
    beat,
  }
}
