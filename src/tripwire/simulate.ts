/**
 * Evaluates rules against past requests. The audit log contains every request, so the result is
 * exact. Recorded usage contains only hourly counts, so the result is a range of certain and
 * possible trips.
 */
// SPDX-License-Identifier: Apache-2.0
import { HOUR_MS } from '../usage/recorder.ts'
import type { ActivitySpan } from '../usage/usage-table.ts'
import { type Observation, createDetector, isCounted, subjectOf } from './detector.ts'
import { toObservation } from './recorded-usage.ts'
import { LEAST_COVERED } from './window-count.ts'
import { type Subject, type TripwireRule, describeSubject, isDenial } from './rule.ts'

/** One rule's trips for one subject. */
export interface SimulatedTrip {
  readonly rule: string
  readonly action: TripwireRule['action']
  readonly subject: Subject
  /** Number of trips that would certainly have occurred. */
  readonly certain: number
  /** Number of further trips, which depend on when within an hour the requests arrived. */
  readonly possible: number
  /** Largest value measured; for a possible trip, the largest value possible. */
  readonly highest: number
  /**
   * Wall time of the first trip, in milliseconds since the Unix epoch. For hourly counts, it is the
   * start of the hour.
   */
  readonly firstAt: number
}

export interface TripwireSimulation {
  readonly requests: number
  /** Number of requests recorded without their caller (`activity.maxSubjects`). */
  readonly notToldApart: number
  readonly trips: readonly SimulatedTrip[]
}

/** A past request. */
export interface PastRequest {
  readonly observation: Observation
  /** Wall time, in milliseconds since the Unix epoch. */
  readonly at: number
}

export interface SimulationOptions {
  readonly rules: readonly TripwireRule[]
  readonly learningMs: number
  readonly maxSubjects: number
}

class Trips {
  readonly #byId = new Map<string, SimulatedTrip>()

  add(
    rule: TripwireRule,
    subject: Subject,
    trip: Pick<SimulatedTrip, 'certain' | 'possible' | 'highest' | 'firstAt'>,
  ) {
    const id = `${rule.name} ${describeSubject(subject)}`
    const before = this.#byId.get(id)
    const { certain, possible, highest, firstAt } = trip
    this.#byId.set(id, {
      ...{ rule: rule.name, action: rule.action, subject },
      certain: certain + (before?.certain ?? 0),
      possible: possible + (before?.possible ?? 0),
      highest: Math.max(highest, before?.highest ?? 0),
      firstAt: Math.min(firstAt, before?.firstAt ?? Infinity),
    })
  }

  list(): readonly SimulatedTrip[] {
    return [...this.#byId.values()].sort(
      (a, b) => b.certain - a.certain || b.possible - a.possible || a.firstAt - b.firstAt,
    )
  }
}

/** Replays requests in chronological order. */
export function simulateRequests(
  requests: Iterable<PastRequest>,
  { rules, learningMs, maxSubjects }: SimulationOptions,
): TripwireSimulation {
  const firstAt = new Map<string, number>()
  const trips = new Trips()
  const detector = createDetector({
    ...{ rules, maxSubjects, learningMs },
    learnUntil: (keyStore) => (firstAt.get(keyStore) ?? 0) + learningMs,
  })
  let count = 0
  for (const { observation, at } of requests) {
    count += 1
    if (!firstAt.has(observation.keyStore)) firstAt.set(observation.keyStore, at)
    detector.observe(observation, at, ({ rule, subject, measured: highest }) => {
      trips.add(rule, subject, { certain: 1, possible: 0, highest, firstAt: at })
    })
  }
  return { requests: count, notToldApart: 0, trips: trips.list() }
}

/** @param spans counts by hour, oldest first */
export function simulateUsage(
  spans: readonly ActivitySpan[],
  { rules, learningMs, maxSubjects }: SimulationOptions,
): TripwireSimulation {
  const past = spans.flatMap((span) => {
    const observation = toObservation(span.subject)
    return observation === undefined ? [] : [{ ...span, observation }]
  })
  const trips = new Trips()
  for (const rule of rules) {
    if (rule.measure === 'decrypts') countBounds(rule, past, trips)
    else if (rule.measure === 'denialPercent') shareBounds(rule, past, trips)
  }
  // The recorded usage has the time of each caller's first request, so new callers are known
  // exactly.
  const novelties = rules.filter(({ measure }) => measure.startsWith('new'))
  const firsts = past
    .map(({ observation, firstAt: at }) => ({ observation, at }))
    .sort((a, b) => a.at - b.at)
  const exact = simulateRequests(firsts, { rules: novelties, learningMs, maxSubjects })
  const sum = (list: readonly { readonly requests: number }[]) =>
    list.reduce((total, { requests }) => total + requests, 0)
  return {
    requests: sum(past),
    notToldApart: sum(spans.filter(({ subject }) => subject.isOverflow)),
    trips: [...trips.list(), ...exact.trips],
  }
}

interface PastHour extends ActivitySpan {
  readonly observation: Observation
}

interface Series {
  readonly subject: Subject
  /** Number of requests that the rule counts, by the start of their hour. */
  readonly counted: Map<number, number>
  readonly all: Map<number, number>
}

function toSeries(rule: TripwireRule, past: readonly PastHour[]): readonly Series[] {
  const series = new Map<string, Series>()
  for (const { observation, startsAt, requests } of past) {
    if (!isCounted(rule, observation)) continue
    const subject = subjectOf(rule, observation)
    const id = describeSubject(subject)
    const one = series.get(id) ?? { subject, counted: new Map(), all: new Map() }
    series.set(id, one)
    add(one.all, startsAt, requests)
    const isNoDenial = rule.measure === 'denialPercent' && observation.isAllowed
    if (!isNoDenial) add(one.counted, startsAt, requests)
  }
  return [...series.values()]
}

function add(counts: Map<number, number>, at: number, count: number): void {
  counts.set(at, (counts.get(at) ?? 0) + count)
}

/**
 * A window's count lies between two sums: it is at least the sum of the whole hours inside it, and
 * at most the sum of all hours that it touches. If an hour contains several windows, one of them
 * holds at least an equal share of the hour's count.
 */
function countBounds(rule: TripwireRule, past: readonly PastHour[], trips: Trips): void {
  const { windowMs, limit } = rule
  const coveredMs = windowMs * LEAST_COVERED
  const wholeHours = Math.floor(coveredMs / HOUR_MS)
  const touched = Math.floor(windowMs / HOUR_MS) + (windowMs % HOUR_MS === 0 ? 1 : 2)
  const parts = wholeHours === 0 ? Math.ceil(HOUR_MS / coveredMs) : 1
  for (const { subject, counted } of toSeries(rule, past)) {
    for (const [hour, count] of counted) {
      const least = sumOf(counted, hour, Math.max(1, wholeHours)) / parts
      const most = sumOf(counted, hour, touched)
      if (most <= limit || count === 0) continue
      const isCertain = least > limit
      trips.add(rule, subject, {
        certain: isCertain ? 1 : 0,
        possible: isCertain ? 0 : 1,
        highest: isCertain ? least : most,
        firstAt: hour,
      })
    }
  }
}

/** Sums the counts of `hours` consecutive hours, the last of which is `hour`. */
function sumOf(counted: ReadonlyMap<number, number>, hour: number, hours: number): number {
  let sum = 0
  for (let i = 0; i < hours; i++) sum += counted.get(hour - i * HOUR_MS) ?? 0
  return sum
}

/**
 * Denials can cluster within an hour, so the percentage of denials can have any value once there
 * are enough requests.
 */
function shareBounds(rule: TripwireRule, past: readonly PastHour[], trips: Trips): void {
  for (const { subject, counted, all } of toSeries(rule, past)) {
    for (const [hour, denied] of counted) {
      const requests = all.get(hour) ?? 0
      const share = (100 * denied) / Math.max(1, requests)
      // The rule evaluates at least this many requests together; the hour's other requests may fall
      // outside the window.
      const highest = Math.min(100, (100 * denied) / Math.min(rule.atLeast, Math.max(1, requests)))
      const couldBeJudged = requests >= rule.atLeast && highest > rule.limit
      if (!couldBeJudged) continue
      trips.add(rule, subject, {
        ...{ certain: 0, possible: 1, highest: Math.max(share, highest), firstAt: hour },
      })
    }
  }
}

/** Converts an audit log entry to a request; undefined if no rule counts it. */
export function fromAuditEntry(entry: Readonly<Record<string, unknown>>): PastRequest | undefined {
  const text = (name: string) => {
    const value = entry[name]
    return typeof value === 'string' ? value : undefined
  }
  const [keyStore, keyId, operation] = [text('keyStore'), text('keyId'), text('operation')]
  const principal = text('awsPrincipalArn')
  const isAllowed = text('outcome') === 'allowed'
  if (keyStore === undefined || keyId === undefined || operation === undefined) return undefined
  if (principal === undefined || entry['isProbe'] === true) return undefined
  const at = Date.parse(text('time') ?? '')
  if (Number.isNaN(at) || (!isAllowed && !isDenial(text('errorName'), text('reason')))) {
    return undefined
  }
  const accessClass = text('accessClass') ?? 'unknown'
  return { observation: { keyStore, keyId, operation, principal, accessClass, isAllowed }, at }
}

/** Merges sequences that are each in chronological order. */
export function* mergeByTime(
  sources: readonly Iterator<PastRequest>[],
): Generator<PastRequest, void, undefined> {
  const heads = sources.flatMap((source) => {
    const { value, done } = source.next() as IteratorResult<PastRequest, undefined>
    return done === true ? [] : [{ source, value }]
  })
  for (;;) {
    let first = heads[0]
    if (first === undefined) return
    for (const head of heads) if (head.value.at < first.value.at) first = head
    yield first.value
    const next = first.source.next() as IteratorResult<PastRequest, undefined>
    if (next.done === true) heads.splice(heads.indexOf(first), 1)
    else first.value = next.value
  }
}
