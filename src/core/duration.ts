/** Durations as people write them: the same units in the configuration and in flags. */
// SPDX-License-Identifier: Apache-2.0

const UNITS: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
])

/** A regular expression for JSON Schema, which knows no other way to say it. */
export const DURATION_PATTERN = '^[0-9]{1,9}(ms|s|m|h|d)$'
const DURATION = new RegExp(DURATION_PATTERN)

/** Stands behind "expected" and in front of what was found. */
export const DURATION_FORM = 'a time such as 200ms, 90s, 5m, 12h or 30d'

/** Milliseconds of `200ms`, `90s`, `5m`, `12h` or `30d`; undefined for any other text. */
export function parseDuration(text: string): number | undefined {
  const unit = DURATION.exec(text)?.[1]
  const factor = unit === undefined ? undefined : UNITS.get(unit)
  return factor === undefined ? undefined : Number.parseInt(text, 10) * factor
}

/** The same for a text whose form a schema has checked. */
export function toMilliseconds(text: string): number {
  return parseDuration(text) ?? NaN
}
