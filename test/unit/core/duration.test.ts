/** Tests parsing durations and times: they share one set of units, and nonexistent dates are rejected. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { parseDate, parseDuration } from '../../../src/core/duration.ts'

void t.test('a duration is a whole number and one of five units', (t) => {
  const rows: readonly (readonly [string, number | undefined])[] = [
    ['200ms', 200],
    ['90s', 90_000],
    ['5m', 300_000],
    ['12h', 43_200_000],
    ['30d', 2_592_000_000],
    ['0s', 0],
    ...['', '5', 's', '-5s', '1.5s', '5S', '5 s', '5sec', '5w', '1234567890s', '5s\n'].map(
      (text) => [text, undefined] as const,
    ),
  ]
  for (const [text, ms] of rows) t.equal(parseDuration(text), ms, JSON.stringify(text))
  t.end()
})

void t.test('a date is in UTC unless it names an offset', (t) => {
  const rows: readonly [string, string][] = [
    ['2027-03-01', '2027-03-01T00:00:00.000Z'],
    ['2027-03-01T12:30', '2027-03-01T12:30:00.000Z'],
    ['2027-03-01T12:30:05', '2027-03-01T12:30:05.000Z'],
    ['2027-03-01T12:30:05.25Z', '2027-03-01T12:30:05.250Z'],
    ['2027-03-01T12:30:00+02:00', '2027-03-01T10:30:00.000Z'],
    ['2028-02-29', '2028-02-29T00:00:00.000Z'],
  ]
  for (const [text, iso] of rows) t.equal(new Date(parseDate(text) ?? NaN).toISOString(), iso, text)
  t.end()
})

void t.test('malformed dates, and dates that do not exist, are refused', (t) => {
  const texts = [
    ...['2027-02-30', '2027-02-29', '2027-04-31', '2027-13-01', '2027-00-10', '2027-01-00'],
    ...['2027-01-01T24:00', '2027-01-01T12:60Z', '2027-01-01T12:00:60Z'],
    ...['2027-01-01T12', '2027-1-1', '2027-01-01 12:00', '01/02/2027', '2027-01-01T12:00:00+0200'],
    ...['2027-01-01T12:00+25:00', 'tomorrow', '', '2027-01-01\n'],
  ]
  for (const text of texts) t.equal(parseDate(text), undefined, JSON.stringify(text))
  t.end()
})
