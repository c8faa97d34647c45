/** Tests strict Base64: accepted text re-encodes to itself. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { parseBase64 } from '../../../src/core/base64.ts'

void t.test('[B64-1] refuses everything that is not standard Base64 with padding', (t) => {
  for (const [why, text] of [
    ['white space inside', 'SGVs bG8='],
    ['a line break at the end', 'SGVsbG8=\n'],
    ['URL-safe minus', '-_8='],
    ['URL-safe underscore', '__8='],
    ['missing padding', 'SGVsbG8'],
    ['surplus padding', 'SGVsbG8=='],
    ['padding alone', '===='],
    ['padding inside', 'SGVs=G8='],
    ['non-zero bits behind the last byte', 'SGVsbG9='],
    ['one character', 'A'],
    ['text after padding', 'SGVsbG8=AAAA'],
    ['a control character', 'SGVs\u0000G8='],
    ['a look-alike letter', 'SGVsbG8\u{ff1d}'],
  ] as const) {
    t.equal(parseBase64(text), undefined, why)
  }
  t.end()
})

void t.test('[B64-1] accepts any bytes as their one encoding', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const text = Buffer.from(bytes).toString('base64')
      return parseBase64(text)?.equals(Buffer.from(bytes)) === true
    }),
  )
  fc.assert(
    fc.property(fc.string({ maxLength: 40 }), (text) => {
      const bytes = parseBase64(text)
      return bytes === undefined || bytes.toString('base64') === text
    }),
  )
  t.same(parseBase64(''), Buffer.alloc(0), 'the empty string encodes zero bytes')
  t.end()
})
