/** Tests x-amz-date: only one format is accepted, and only dates that exist. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { parseAmzDate } from '../../../src/sigv4/authorization-header.ts'

const READ: Readonly<Record<string, number>> = {
  '20150830T123600Z': Date.UTC(2015, 7, 30, 12, 36),
  '19700101T000000Z': 0,
  '20260115T000000Z': Date.UTC(2026, 0, 15),
  '20261231T235959Z': Date.UTC(2026, 11, 31, 23, 59, 59),
  '20240229T120000Z': Date.UTC(2024, 1, 29, 12),
  '20000229T000000Z': Date.UTC(2000, 1, 29),
  '99991231T235959Z': Date.UTC(9999, 11, 31, 23, 59, 59),
}

const REFUSED: Readonly<Record<string, string>> = {
  nothing: '',
  'a date alone': '20150830',
  'with dashes and colons': '2015-08-30T12:36:00Z',
  'with a fraction': '20150830T123600.000Z',
  'with an offset': '20150830T123600+0000',
  'without Z': '20150830T123600',
  'z in lower case': '20150830T123600z',
  't in lower case': '20150830t123600Z',
  'a space for T': '20150830 123600Z',
  'without seconds': '20150830T1236Z',
  'a year of five digits': '120150830T123600Z',
  'a sign': '-2015083T123600Z',
  'a space in front': ' 20150830T123600Z',
  'a line feed behind': '20150830T123600Z\n',
  'the form of Date': 'Sun, 30 Aug 2015 12:36:00 GMT',
  'digits that are not ASCII': '２０１５０８３０T123600Z',
  'two, joined': '20150830T123600Z,20150830T123600Z',
  'month 0': '20150030T123600Z',
  'month 13': '20151330T123600Z',
  'day 0': '20150800T123600Z',
  'day 32': '20150832T123600Z',
  'the 31st of a month of 30 days': '20150931T123600Z',
  'the 29th of February in 2015': '20150229T123600Z',
  'the 29th of February in 1900': '19000229T123600Z',
  'the 29th of February in 2100': '21000229T123600Z',
  'the 30th of February in 2024': '20240230T123600Z',
  'hour 24': '20150830T240000Z',
  'minute 60': '20150830T126000Z',
  'second 60': '20150830T123660Z',
  'a year below 100, which Date.UTC takes for 1999': '00990101T000000Z',
}

void t.test('real times, leap days among them', (t) => {
  for (const [text, time] of Object.entries(READ)) t.equal(parseAmzDate(text), time, text)
  t.end()
})

void t.test('every other format is refused', (t) => {
  for (const [what, text] of Object.entries(REFUSED)) t.equal(parseAmzDate(text), undefined, what)
  t.end()
})

void t.test('any second of the years 1970 to 9999 is read as it was written', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: Date.UTC(9999, 11, 31) / 1000 }), (second) => {
      const text = new Date(second * 1000).toISOString().replaceAll(/[-:]|\.000/g, '')
      return parseAmzDate(text) === second * 1000
    }),
  )
  t.end()
})
