/** Connects the tripwire to recorded usage, the kill switch and the event log of the store. */
// SPDX-License-Identifier: Apache-2.0
import { hostname } from 'node:os'
import type { Config } from '../config/config.ts'
import type { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { createKillSwitch, type KillSwitch } from '../killswitch/operator/service.ts'
import { appendEvent } from '../store/event-log.ts'
import { readEventsSince } from '../store/recent-events.ts'
import { type Store, openStore } from '../store/store.ts'
import { loadRecalledUsage, recall, recallTrips, toLearnUntil } from '../tripwire/recorded-usage.ts'
import type { TripwireEvent, TripwireRule } from '../tripwire/rule.ts'
import { type AutomaticKill, type Tripwire, createTripwire } from '../tripwire/tripwire.ts'
import { type ActivitySpan, loadActivitySpans } from '../usage/usage-table.ts'
import type { ControlledGate } from './gate.ts'
import { toStoreOptions } from './store.ts'

export interface ServerTripwireDeps {
  readonly config: Config
  readonly store: Store
  readonly logger: Logger
  readonly control: Pick<ControlledGate, 'fleet'>
  /** Receives every trip, for notifications. Must not throw. */
  readonly onEvent?: (event: TripwireEvent) => void
}

/** Kind of the event that the store keeps for each trip. */
const TRIPPED = 'tripwire'
/** The event log is permanent, so trips beyond this number go only to the log and the metrics. */
const MAX_EVENTS_AN_HOUR = 60
const HOUR_MS = 3_600_000

/**
 * Returns undefined if no rules are configured.
 * @throws StorageError
 */
export async function createServerTripwire(
  deps: ServerTripwireDeps,
  cleanup: Cleanup,
): Promise<Tripwire | undefined> {
  const { config, store, logger } = deps
  const instances = () => deps.control.fleet().instances
  const { mode, rules, maxSubjects, learningMs } = config.tripwire
  if (rules.length === 0) return undefined
  const now = clock.now()
  const toTime = (wall: number) => clock.monotonic() - (clock.now() - wall)
  const usage = await store.database.snapshot((reader) =>
    loadRecalledUsage(reader, rules, { now, retentionMs: config.activity.retentionMs }),
  )
  const learnUntil = toLearnUntil(usage, { now, learningMs })
  const kills = mode === 'enforce' && rules.some(({ action }) => action === 'kill')
  const killSwitch = kills ? await openOwnKillSwitch(config, cleanup) : undefined
  const note = createNotes(store)
  const tripwire = createTripwire({
    ...{ mode, rules, maxSubjects, learningMs, clock, logger },
    ...{ host: hostname(), shares: instances },
    learnUntil: (keyStore) => toTime(learnUntil(keyStore)),
    async kill(order) {
      if (killSwitch === undefined)
        throw new TypeError(
          'a rule with the action kill was broken, but this process has no kill switch',
        )
      return killWithReceipt(killSwitch, order)
    },
    onEvent(event) {
      deps.onEvent?.(event)
      note(event)
    },
  })
  recall(tripwire.detector, usage, toTime, instances())
  recallTrips(tripwire.detector, await loadTrips(store, rules, now), toTime, now)
  cleanup.add(tripwire.stop)
  const learning = config.keyStores.map(({ name }) => name).filter((name) => learnUntil(name) > now)
  logger.info('tripwire rules loaded', { mode, rules: rules.map(({ name }) => name), learning })
  return tripwire
}

/**
 * Opens a separate store handle, so that a kill does not wait behind requests or for a connection.
 */
async function openOwnKillSwitch(config: Config, cleanup: Cleanup): Promise<KillSwitch> {
  const own = await openStore(await toStoreOptions(config, { connections: 'kept' }))
  const killSwitch = createKillSwitch(own, config)
  cleanup.add(() => killSwitch.close())
  return killSwitch
}

async function killWithReceipt(killSwitch: KillSwitch, order: AutomaticKill) {
  const { kill } = await killSwitch.stop(order, { wait: true })
  return kill.switch?.id
}

/**
 * Returns only the trips within the longest window, because the event log is permanent and can
 * become long.
 */
async function loadTrips(
  store: Store,
  rules: readonly TripwireRule[],
  now: number,
): Promise<readonly TripwireEvent[]> {
  const since = now - Math.max(...rules.map(({ windowMs }) => windowMs))
  const events = await store.database.snapshot((reader) =>
    readEventsSince(reader, store.sealing, since),
  )
  return events
    .filter(({ kind }) => kind === TRIPPED)
    .map(({ at, detail }) => ({ ...detail, at }) as unknown as TripwireEvent)
}

/** Returns a function that writes trips to the store as events, in the background. */
function createNotes(store: Store): (event: TripwireEvent) => void {
  let hour = 0
  let written = 0
  return (event) => {
    const { at, ...detail } = event
    const thisHour = Math.floor(at / HOUR_MS)
    if (thisHour !== hour) written = 0
    hour = thisHour
    if (++written > MAX_EVENTS_AN_HOUR) return
    const operator = `automatic: tripwire on ${hostname()}`
    // The log line and the metric record the trip even if the store does not respond.
    store
      .change((transaction, epoch) =>
        appendEvent(transaction, store.sealing, { at, epoch, kind: TRIPPED, operator, detail }),
      )
      .catch(() => undefined)
  }
}

/**
 * Returns recorded usage by hour, oldest first. Does not require a running server.
 * @throws StorageError
 */
export async function loadHourlyUsage(
  config: Config,
  since: number,
): Promise<readonly ActivitySpan[]> {
  const store = await openStore(await toStoreOptions(config, { connections: 'one' }))
  try {
    const start = Math.floor(since / HOUR_MS) * HOUR_MS
    const period = { since: start, until: clock.now() + HOUR_MS, spanMs: HOUR_MS }
    return await store.database.snapshot((reader) => loadActivitySpans(reader, period))
  } finally {
    await store.close()
  }
}
