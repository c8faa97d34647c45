/** The tripwire of a serving process: watches finished requests, and acts when a rule is broken. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { RequestRecord, RequestSubject } from '../core/request.ts'
import type { Scope } from '../core/scope.ts'
import { type Detector, type Observation, createDetector } from './detector.ts'
import {
  type Action,
  type Trip,
  type TripwireEvent,
  type TripwireRule,
  describeSubject,
  isDenial,
  toScope,
} from './rule.ts'
import { createThrottles } from './throttles.ts'

/** A kill that the tripwire orders. */
export interface AutomaticKill {
  readonly scope: Scope
  readonly direction: TripwireRule['direction']
  readonly reason: string
  readonly operator: string
}

export interface TripwireDeps {
  readonly mode: 'rehearse' | 'enforce'
  readonly rules: readonly TripwireRule[]
  readonly maxSubjects: number
  /** Host name to record with a kill. */
  readonly host: string
  readonly clock: Clock
  readonly logger: Logger
  readonly shares: () => number
  /** Returns monotonic time in milliseconds; see `DetectorOptions`. */
  readonly learnUntil: (keyStore: string) => number
  /** Learning period in milliseconds; see `DetectorOptions`. */
  readonly learningMs: number
  /** Resolves to the switch's id once no instance serves requests that the switch stops. */
  readonly kill: (order: AutomaticKill) => Promise<string | undefined>
  /** Receives every trip, for notifications. Must not throw. */
  readonly onEvent: (event: TripwireEvent) => void
}

interface Counted {
  readonly rule: string
  /** `failed` means that the store did not accept a kill. */
  readonly done: Action | 'failed'
  count: number
}

export interface TripwireStats {
  readonly mode: 'rehearse' | 'enforce'
  readonly rules: number
  /** Number of trips by rule and action taken. */
  readonly trips: readonly Counted[]
  /** Number of subjects that are currently throttled. */
  readonly throttled: number
  readonly forgotten: number
}

export interface Tripwire {
  /**
   * The detector, which must process earlier requests before the server handles its first request.
   */
  readonly detector: Pick<Detector, 'recall' | 'quiet'>
  /** Call with each finished request. Never throws. */
  observe(record: RequestRecord): void
  /** Reports whether the request is throttled because of a broken rule. */
  isThrottled(subject: RequestSubject): boolean
  stats(): TripwireStats
  /** Resolves once all kills in progress have finished. */
  stop(): Promise<void>
}

export function createTripwire(deps: TripwireDeps): Tripwire {
  const { clock, logger, mode } = deps
  const detector = createDetector(deps)
  const trips = new Map<string, Counted>()
  const throttles = createThrottles()
  const kills = new Set<Promise<void>>()

  function count(rule: string, done: Counted['done']): void {
    const id = `${rule} ${done}`
    const counted = trips.get(id)
    if (counted === undefined) trips.set(id, { rule, done, count: 1 })
    else counted.count += 1
  }

  function onTrip(trip: Trip): void {
    const { rule, subject, measured, limit } = trip
    const done = mode === 'enforce' ? rule.action : 'log'
    count(rule.name, done)
    const { name, measure, action, windowMs } = rule
    const event = { ...subject, rule: name, measure, measured, limit, windowMs, action, done }
    if (done === 'log') logger.warn('a tripwire rule was broken', event)
    else logger.error('a tripwire rule was broken', event)
    // A kill also throttles, so that this process refuses requests even before the switch is
    // committed.
    if (done !== 'log') throttles.add(trip, clock.monotonic())
    if (done === 'kill') startKill(trip)
    const at = clock.now()
    deps.onEvent({ rule: name, measure, measured, limit, windowMs, action, done, subject, at })
  }

  function startKill({ rule, subject, measured, limit }: Trip): void {
    const scope = toScope(rule, subject)
    const seconds = String(rule.windowMs / 1000)
    const reason = `tripwire rule ${rule.name}: ${rule.measure} ${String(Math.round(measured))} in ${seconds} s, limit ${String(limit)}, ${describeSubject(subject)}`
    const operator = `automatic: tripwire on ${deps.host}`
    const kill = deps
      .kill({ scope, direction: rule.direction, reason: reason.slice(0, 500), operator })
      .then(
        (switchId) => {
          logger.error('the tripwire created a kill switch', {
            ...subject,
            rule: rule.name,
            switch: switchId,
          })
        },
        (err: unknown) => {
          count(rule.name, 'failed')
          logger.error(
            'the tripwire could not create a kill switch; this process throttles instead',
            {
              ...subject,
              rule: rule.name,
              err,
            },
          )
        },
      )
      .finally(() => kills.delete(kill))
    kills.add(kill)
  }

  return {
    detector,
    observe(record) {
      const observation = toObservation(record)
      if (observation !== undefined) detector.observe(observation, clock.monotonic(), onTrip)
    },
    isThrottled: (subject) => throttles.refuses(subject, clock.monotonic()),
    stats: () => ({
      mode,
      rules: deps.rules.length,
      trips: [...trips.values()],
      throttled: throttles.count(clock.monotonic()),
      forgotten: detector.forgotten,
    }),
    async stop() {
      await Promise.all(kills)
    },
  }
}

/** Returns undefined for a request that no rule counts, such as one from Latchkey's own tools. */
function toObservation(record: RequestRecord): Observation | undefined {
  const { keyStore, keyId, operation, metadata, accessClass = 'unknown', status } = record
  const principal = metadata?.awsPrincipalArn
  if (keyStore === undefined || keyId === undefined || operation === undefined) return undefined
  if (principal === undefined || record.isProbe === true) return undefined
  const isAllowed = status === 200
  if (!isAllowed && !isDenial(record.errorName, record.reason)) return undefined
  return { keyStore, keyId, operation, principal, accessClass, isAllowed }
}
