/** Tests the times that flags accept. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { parseWhen } from '../../../src/terminal/flags/time.ts'

void t.test('a time must be in the years 1970 to 9999', (t) => {
  t.equal(parseWhen('1970-01-01'), 0)
  t.equal(parseWhen('9999-12-31T23:59:59.999Z'), 253_402_300_799_999)
  const refused = (text: string) => {
    const message = `expected a date in the years 1970 to 9999, found "${text}"`
    t.throws(() => parseWhen(text), { code: 'INPUT_INVALID', message })
  }
  for (const text of ['1969-12-31T23:59:59Z', '0001-01-01', '9999-12-31T23:59:59-01:00'])
    refused(text)
  refused('9999999d')
  t.end()
})
