/** Derives rules from recorded usage, with limits well above everything recorded. */
// SPDX-License-Identifier: Apache-2.0
import { toCaller } from '../core/caller.ts'
import { HOUR_MS } from '../usage/recorder.ts'
import type { ActivitySpan } from '../usage/usage-table.ts'
import { toObservation } from './recorded-usage.ts'
import { type TripwireRule } from './rule.ts'

/** Safety factor: limits are this multiple of the recorded maximum. */
const MARGIN = 3
const LEAST_DECRYPTS = 100
const LEAST_NEW_PRINCIPALS = 2
const LEAST_DENIAL_PERCENT = 25
const DAY_MS = 24 * HOUR_MS

interface Peaks {
  /** Number of Decrypts served per hour, by caller and in total. */
  readonly byCaller: Map<string, number>
  readonly byHour: Map<number, number>
  /** Number of requests by caller and hour; `denied` has the same for denials. */
  readonly all: Map<string, number>
  readonly denied: Map<string, number>
  /** Hour in which each caller was first seen; `firstClass` has the same for each access class. */
  readonly firstHour: Map<string, number>
  readonly firstClass: Map<string, number>
  /** Hour of the first request. */
  start: number
}

/**
 * Returns rules for each key store with a recorded Decrypt, all of them with `action: log`.
 * @param spans counts by hour
 */
export function suggestRules(spans: readonly ActivitySpan[]): readonly TripwireRule[] {
  const stores = new Map<string, Peaks>()
  for (const { subject, startsAt, requests } of spans) {
    const seen = toObservation(subject)
    if (seen === undefined) continue
    const peaks = stores.get(seen.keyStore) ?? noPeaks()
    stores.set(seen.keyStore, peaks)
    peaks.start = Math.min(peaks.start, startsAt)
    const caller = toCaller(seen.principal)
    const id = `${String(startsAt)} ${caller}`
    add(peaks.all, id, requests)
    if (!seen.isAllowed) add(peaks.denied, id, requests)
    else {
      setLeast(peaks.firstHour, caller, startsAt)
      setLeast(peaks.firstClass, seen.accessClass, startsAt)
      if (seen.operation !== 'Decrypt') continue
      add(peaks.byCaller, id, requests)
      add(peaks.byHour, startsAt, requests)
    }
  }
  return [...stores].flatMap(([keyStore, peaks]) =>
    peaks.byHour.size === 0 ? [] : rulesOf(keyStore, peaks),
  )
}

function noPeaks(): Peaks {
  return {
    byCaller: new Map(),
    byHour: new Map(),
    all: new Map(),
    denied: new Map(),
    firstHour: new Map(),
    firstClass: new Map(),
    start: Infinity,
  }
}

function setLeast(times: Map<string, number>, name: string, at: number): void {
  times.set(name, Math.min(times.get(name) ?? at, at))
}

function add<K>(counts: Map<K, number>, key: K, count: number): void {
  counts.set(key, (counts.get(key) ?? 0) + count)
}

function rulesOf(keyStore: string, peaks: Peaks): readonly TripwireRule[] {
  const common = { keyStore, atLeast: 50, action: 'log', direction: 'decrypt' } as const
  const decrypts = { ...common, measure: 'decrypts' } as const
  const shares = [...peaks.all].flatMap(([id, requests]) =>
    requests < common.atLeast ? [] : [(100 * (peaks.denied.get(id) ?? 0)) / requests],
  )
  const percent = Math.max(LEAST_DENIAL_PERCENT, Math.ceil(Math.max(0, ...shares) + 10))
  return [
    {
      ...{ ...decrypts, name: `${keyStore}-caller-rate`, per: 'principal', windowMs: HOUR_MS },
      limit: toLimit(most(peaks.byCaller.values()), LEAST_DECRYPTS),
    },
    {
      ...{ ...decrypts, name: `${keyStore}-volume`, per: 'key-store', windowMs: DAY_MS },
      limit: toLimit(mostInADay(peaks.byHour), 10 * LEAST_DECRYPTS),
    },
    {
      ...{ ...common, name: `${keyStore}-new-callers`, per: 'key-store', windowMs: HOUR_MS },
      measure: 'newPrincipals',
      limit: Math.max(LEAST_NEW_PRINCIPALS, MARGIN * mostNew(peaks.firstHour, peaks.start)),
    },
    {
      ...{ ...common, name: `${keyStore}-new-access`, per: 'key-store', windowMs: HOUR_MS },
      measure: 'newAccessClasses',
      limit: mostNew(peaks.firstClass, peaks.start),
    },
    ...(percent > 95
      ? []
      : [
          {
            ...common,
            name: `${keyStore}-denials`,
            per: 'principal',
            windowMs: HOUR_MS,
            measure: 'denialPercent',
            limit: percent,
          } as const,
        ]),
  ]
}

function most(counts: Iterable<number>): number {
  let highest = 0
  for (const count of counts) highest = Math.max(highest, count)
  return highest
}

/**
 * Returns the highest count in a one-day window. Such a window can start in the middle of an hour,
 * so it can overlap 25 hours.
 */
function mostInADay(byHour: ReadonlyMap<number, number>): number {
  const sums = [...byHour.keys()].map((start) => {
    let sum = 0
    for (let at = start; at <= start + DAY_MS; at += HOUR_MS) sum += byHour.get(at) ?? 0
    return sum
  })
  return most(sums)
}

/**
 * Returns the maximum number of new names within two hours, because a one-hour window can overlap
 * two clock hours. The first day does not count, because every name is new then.
 */
function mostNew(firstHours: ReadonlyMap<string, number>, start: number): number {
  const counts = new Map<number, number>()
  for (const hour of firstHours.values()) {
    if (hour < start + DAY_MS) continue
    add(counts, hour, 1)
    add(counts, hour + HOUR_MS, 1)
  }
  return most(counts.values())
}

/** Rounds up to two significant digits, so that a limit does not look more precise than it is. */
function toLimit(highest: number, least: number): number {
  const limit = Math.max(least, highest * MARGIN)
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(limit)) - 1)
  return Math.ceil(limit / unit) * unit
}

/** Formats the rules as the `tripwire` section of latchkey.yaml. */
export function toYaml(rules: readonly TripwireRule[]): string {
  const lines = rules.flatMap((rule) => [
    `    - name: ${rule.name}`,
    ...(rule.keyStore === undefined ? [] : [`      keyStore: ${rule.keyStore}`]),
    `      per: ${rule.per}`,
    `      measure: ${rule.measure}`,
    `      limit: ${String(rule.limit)}`,
    `      window: ${String(rule.windowMs / HOUR_MS)}h`,
    `      action: ${rule.action}`,
  ])
  return ['tripwire:', '  mode: rehearse', '  rules:', ...lines].join('\n')
}
