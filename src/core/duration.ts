/** Parses durations and dates, which have the same form in the configuration and in flags. */
// SPDX-License-Identifier: Apache-2.0

const UNITS: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
])

/** The pattern is a string, because JSON Schema takes regular expressions as strings. */
export const DURATION_PATTERN = '^[0-9]{1,9}(ms|s|m|h|d)$'
const DURATION = new RegExp(DURATION_PATTERN)

/**
 * Describes a valid duration. In an error message, it follows "expected" and precedes the value
 * found.
 */
export const DURATION_FORM = 'a duration such as 200ms, 90s, 5m, 12h or 30d'

/**
 * Parses `200ms`, `90s`, `5m`, `12h` or `30d` to milliseconds; returns undefined for any other
 * string.
 */
export function parseDuration(text: string): number | undefined {
  const unit = DURATION.exec(text)?.[1]
  const factor = unit === undefined ? undefined : UNITS.get(unit)
  return factor === undefined ? undefined : Number.parseInt(text, 10) * factor
}

/** Converts a string whose format the schema has already validated. */
export function toMilliseconds(text: string): number {
  return parseDuration(text) ?? NaN
}

/** End of the year 9999, in milliseconds since the Unix epoch. */
const LAST_DATE_MS = 253_402_300_799_999

/** Describes the range of valid dates. In an error message, it follows "expected". */
export const DATE_RANGE = 'a date in the years 1970 to 9999'

/**
 * Reports whether a time is in the years 1970 to 9999, so that it can be written as an ISO date
 * with a four-digit year.
 */
export function isInRange(atMs: number): boolean {
  return atMs >= 0 && atMs <= LAST_DATE_MS
}

const DATE = /^(\d{4}-\d{2}-\d{2})(?:T(\d{2}:\d{2})(?::(\d{2})(\.\d{1,3})?)?(Z|[+-]\d{2}:\d{2})?)?$/

/**
 * Describes a valid date. In an error message, it follows "expected" and precedes the value found.
 */
export const DATE_FORM =
  'a date such as 2027-03-01 or 2027-03-01T12:30:00Z, in UTC unless it names another offset'

/**
 * Returns milliseconds since the Unix epoch. A date without a time means midnight. Without an
 * offset, the time is in UTC, regardless of the machine's time zone. Returns undefined for any
 * other text, and for a day or time that does not exist, such as 2027-02-30.
 */
export function parseDate(text: string): number | undefined {
  const [, day, time = '00:00', seconds = '00', fraction = '', offset = 'Z'] = DATE.exec(text) ?? []
  if (day === undefined) return undefined
  const local = `${day}T${time}:${seconds}`
  const asUtc = Date.parse(`${local}Z`)
  // Date.parse would read 2027-02-30 as 2 March.
  const exists = !Number.isNaN(asUtc) && new Date(asUtc).toISOString().startsWith(local)
  const moment = Date.parse(`${local}${fraction}${offset}`)
  return exists && !Number.isNaN(moment) ? moment : undefined
}
