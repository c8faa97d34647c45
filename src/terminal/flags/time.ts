/** Parses times, durations and counts from the command line. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import {
  DATE_FORM,
  DATE_RANGE,
  DURATION_FORM,
  isInRange,
  parseDate,
  parseDuration,
} from '../../core/duration.ts'
import { type Context, UsageError, stringFlag } from '../command.ts'

/**
 * Parses `now`, a duration from now such as `90d`, or a date. Returns milliseconds since the Unix
 * epoch.
 * @throws UsageError
 */
export function parseWhen(text: string): number {
  const moment = toMoment(text, 1)
  if (isInRange(moment)) return moment
  throw new UsageError('INPUT_INVALID', `expected ${DATE_RANGE}, found ${JSON.stringify(text)}`)
}

/** @param direction 1 if a duration is added to the current time, -1 if it is subtracted */
function toMoment(text: string, direction: 1 | -1): number {
  const now = systemClock.now()
  if (text === 'now') return now
  const span = parseDuration(text)
  const moment = span === undefined ? parseDate(text) : now + direction * span
  // 8.64e15 is the latest date that ECMAScript can represent.
  if (moment !== undefined && Math.abs(moment) <= 8.64e15) return moment
  throw new UsageError('INPUT_INVALID', `invalid time ${JSON.stringify(text)}`, {
    hint: `use now, ${DURATION_FORM}, or ${DATE_FORM}`,
  })
}

/** Like `parseWhen`, but refuses times in the past. @throws UsageError */
export function parseFuture(text: string): number {
  const time = parseWhen(text)
  if (time <= systemClock.now()) throw new UsageError('INPUT_INVALID', `${text} is in the past`)
  return time
}

/**
 * Parses `now`, a duration before now such as `2h` or `30d`, or a past date. Returns milliseconds
 * since the Unix epoch.
 * @throws UsageError
 */
export function parsePast(text: string): number {
  const time = toMoment(text, -1)
  // Reads the clock again, because time has passed since `now` was parsed.
  if (time > systemClock.now()) throw new UsageError('INPUT_INVALID', `${text} is in the future`)
  return time
}

/**
 * Parses a duration flag such as `90s`, `10m` or `30d` into milliseconds.
 * @throws UsageError
 */
export function durationFlag(context: Context, name: string, otherwiseMs: number): number {
  const text = stringFlag(context, name)
  if (text === undefined) return otherwiseMs
  const span = parseDuration(text)
  if (span !== undefined) return span
  throw new UsageError(
    'USAGE',
    `--${name}: expected ${DURATION_FORM}, found ${JSON.stringify(text)}`,
  )
}

/** @throws UsageError */
export function countFlag(
  context: Context,
  name: string,
  {
    otherwise,
    least,
    most,
  }: { readonly otherwise: number; readonly least: number; readonly most: number },
): number {
  const text = stringFlag(context, name)
  if (text === undefined) return otherwise
  const count = Number(text)
  if (!/^\d+$/.test(text) || count < least || count > most) {
    throw new UsageError(
      'USAGE',
      `--${name}: expected a number from ${String(least)} to ${String(most)}`,
    )
  }
  return count
}

const UNITS = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
] as const

/** Formats a time with its zone and its age: `2026-11-29 21:04 UTC (2 hours ago)`. */
export function describeTime(at: number, now: number): string {
  const text = `${new Date(at).toISOString().slice(0, 16).replace('T', ' ')} UTC`
  const found = UNITS.find(([, span]) => now - at >= span)
  if (found === undefined) return `${text} (less than a minute ago)`
  const [unit, span] = found
  const number = Math.floor((now - at) / span)
  return `${text} (${String(number)} ${unit}${number === 1 ? '' : 's'} ago)`
}
