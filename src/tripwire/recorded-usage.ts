/**
 * Loads state from recorded usage, so that a process can continue from the counts of earlier
 * processes.
 */
// SPDX-License-Identifier: Apache-2.0
import { accessClassOf } from '../policy/principal.ts'
import type { Reader } from '../store/database.ts'
import { SUCCESS, type UsageKey } from '../usage/usage-key.ts'
import { MINUTE_MS } from '../usage/recorder.ts'
import {
  type Activity,
  type ActivitySpan,
  loadActivity,
  loadActivitySpans,
  toPeriod,
} from '../usage/usage-table.ts'
import type { Detector, Observation } from './detector.ts'
import type { TripwireEvent, TripwireRule } from './rule.ts'

/**
 * Reports whether a recorded outcome, which is Latchkey's own code if there is one, counts as a
 * denial.
 */
function isDenial(outcome: string): boolean {
  return outcome.startsWith('POLICY_') || DENIALS.has(outcome)
}

const DENIALS: ReadonlySet<string> = new Set([
  ...['KEY_NOT_FOUND', 'INTEGRITY_FAILURE', 'VERSION_NOT_FOUND', 'METADATA'],
])

/** Returns undefined if no rule counts the subject. */
export function toObservation(subject: UsageKey): Observation | undefined {
  const { keyStore, keyId, operation, principal, kmsOperation, kmsKeyArn, viaService } = subject
  if (keyId === undefined || principal === undefined || subject.isProbe === true) return undefined
  const isAllowed = subject.outcome === SUCCESS
  if (!isAllowed && !isDenial(subject.outcome)) return undefined
  const accessClass = accessClassOf({
    awsPrincipalArn: principal,
    ...(kmsOperation === undefined ? {} : { kmsOperation }),
    ...(kmsKeyArn === undefined ? {} : { kmsKeyArn }),
    ...(viaService === undefined ? {} : { kmsViaService: viaService }),
  })
  return { keyStore, keyId, operation, principal, accessClass, isAllowed }
}

export interface RecalledUsage {
  /** Requests within the longest window of any rule, oldest first. */
  readonly spans: readonly ActivitySpan[]
  /** Every subject with a usage record. */
  readonly subjects: readonly Activity[]
}

/** @param now wall time, in milliseconds since the Unix epoch */
export async function loadRecalledUsage(
  reader: Reader,
  rules: readonly TripwireRule[],
  { now, retentionMs }: { readonly now: number; readonly retentionMs: number },
): Promise<RecalledUsage> {
  const windowMs = Math.max(0, ...rules.map((rule) => rule.windowMs))
  const asked = { since: now - windowMs, until: now + MINUTE_MS }
  return {
    spans: await loadActivitySpans(reader, toPeriod(asked, now)),
    subjects: await loadActivity(
      reader,
      toPeriod({ since: now - retentionMs, until: now + MINUTE_MS }, now),
    ),
  }
}

/**
 * Feeds a detector the requests recorded before startup. All requests in an hour or minute are
 * counted as if they arrived with the first one, so that no request counts for longer than the
 * rule's window.
 * @param toTime converts wall time to the detector's time
 * @param shares number of processes; each takes over an equal share
 */
export function recall(
  detector: Pick<Detector, 'recall'>,
  { spans, subjects }: RecalledUsage,
  toTime: (wall: number) => number,
  shares: number,
): void {
  for (const { subject, firstAt } of subjects) {
    const observation = toObservation(subject)
    if (observation !== undefined) detector.recall(observation, toTime(firstAt), 0)
  }
  for (const { subject, requests, firstAt } of spans) {
    const observation = toObservation(subject)
    if (observation === undefined) continue
    detector.recall(observation, toTime(firstAt), Math.floor(requests / shares))
  }
}

/**
 * Prevents a process from reporting a trip again after a restart, within the rule's window.
 * @param trips trips of all processes
 * @param now wall time, in milliseconds since the Unix epoch
 */
export function recallTrips(
  detector: Pick<Detector, 'quiet'>,
  trips: readonly TripwireEvent[],
  toTime: (wall: number) => number,
  now: number,
): void {
  for (const { rule, subject, windowMs, at, done } of trips) {
    // A throttle ends when its process exits, and only another trip starts a new one.
    if (done === 'throttle' || at + windowMs <= now) continue
    detector.quiet(rule, subject, toTime(at + windowMs))
  }
}

/**
 * Returns the wall time until which a key store's callers are learned. If a key store has no
 * recorded usage, it is new or its record was lost; in either case, all its callers would seem new.
 * Callers recorded without their names (`activity.maxSubjects`) would seem new too.
 */
export function toLearnUntil(
  { subjects }: RecalledUsage,
  { now, learningMs }: { readonly now: number; readonly learningMs: number },
): (keyStore: string) => number {
  const firstAt = new Map<string, number>()
  const lastUnnamedAt = new Map<string, number>()
  for (const { subject, firstAt: first, lastAt: last } of subjects) {
    const { keyStore, isOverflow } = subject
    firstAt.set(keyStore, Math.min(firstAt.get(keyStore) ?? Infinity, first))
    if (isOverflow) lastUnnamedAt.set(keyStore, Math.max(lastUnnamedAt.get(keyStore) ?? 0, last))
  }
  return (keyStore) =>
    Math.max(firstAt.get(keyStore) ?? now, lastUnnamedAt.get(keyStore) ?? 0) + learningMs
}
