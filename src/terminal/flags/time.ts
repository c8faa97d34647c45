/** Moments as they are given on the command line. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import { type Context, UsageError, stringFlag } from '../command.ts'

const UNITS: ReadonlyMap<string, number> = new Map([
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
])

/** Milliseconds since the Unix epoch of `now`, `90d` from now, or an ISO date. @throws UsageError */
export function parseWhen(text: string): number {
  if (text === 'now') return systemClock.now()
  const [, count, unit] = /^(\d{1,6})([mhd])$/.exec(text) ?? []
  if (count !== undefined) return systemClock.now() + Number(count) * (UNITS.get(unit ?? '') ?? 0)
  const time = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : NaN
  if (Number.isNaN(time)) {
    throw new UsageError('INPUT_INVALID', `${text} is neither now, nor like 90d or 12h, nor a date`)
  }
  return time
}

/** Like `parseWhen`, for what would make no sense in the past. @throws UsageError */
export function parseFuture(text: string): number {
  const time = parseWhen(text)
  if (time <= systemClock.now()) throw new UsageError('INPUT_INVALID', `${text} is over already`)
  return time
}

/** Milliseconds since the Unix epoch of `now`, `2h` or `30d` ago, or a date that is over. @throws UsageError */
export function parsePast(text: string): number {
  const [, count, unit] = /^(\d{1,6})([mhd])$/.exec(text) ?? []
  const agoMs = Number(count) * (UNITS.get(unit ?? '') ?? 0)
  const time = count === undefined ? parseWhen(text) : systemClock.now() - agoMs
  // Read again: the `now` of above is over.
  if (time > systemClock.now()) throw new UsageError('INPUT_INVALID', `${text} is not over yet`)
  return time
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
    throw new UsageError('USAGE', `--${name} is a number from ${String(least)} to ${String(most)}`)
  }
  return count
}
