/** Times as they are written in the configuration. */
// SPDX-License-Identifier: Apache-2.0

const UNITS: ReadonlyMap<string, number> = new Map([
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
])

/** Milliseconds of `200ms`, `5s`, `5m` or `1h`; the schema has checked the form. */
export function toMilliseconds(text: string): number {
  const [, count = '', unit = ''] = /^(\d+)(ms|s|m|h)$/.exec(text) ?? []
  return Number(count) * (UNITS.get(unit) ?? NaN)
}
