/** Fuzzes Authorization and x-amz-date: a value that is accepted must re-encode to the same bytes. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  type Authorization,
  parseAmzDate,
  parseAuthorization,
} from '../../src/sigv4/authorization-header.ts'
import { damaged, runs } from '../support/fuzz.ts'
import { signed } from '../support/sigv4-request.ts'
import { amzDate } from '../support/wire.ts'

const GOOD = signed().rawHeaders.at(-1) ?? ''

/** Serializes a parsed header with the same optional spaces as in `like`. */
function written({ accessKeyId, scope, signedHeaders, signature }: Authorization, like: string) {
  const spaces = /^AWS4-HMAC-SHA256( +)/.exec(like)?.[1] ?? ' '
  const [first = ', ', second = ', '] = like.match(/, ?(?=SignedHeaders=|Signature=)/g) ?? []
  const credential = `${accessKeyId}/${scope.date}/${scope.region}/${scope.service}/aws4_request`
  return `AWS4-HMAC-SHA256${spaces}Credential=${credential}${first}SignedHeaders=${signedHeaders.join(';')}${second}Signature=${signature}`
}

const authorization = fc.oneof(damaged(GOOD), damaged(GOOD.replaceAll(', ', ',')), fc.string())

void t.test('an accepted Authorization re-encodes byte for byte', (t) => {
  const good = parseAuthorization(GOOD)
  t.equal(good && written(good, GOOD), GOOD)
  let accepted = 0
  fc.assert(
    fc.property(authorization, (text) => {
      const parsed = parseAuthorization(text)
      if (parsed === undefined) return true
      accepted += 1
      return written(parsed, text) === text
    }),
    runs(20_000),
  )
  t.ok(accepted > 20, `${String(accepted)} were accepted`)
  t.end()
})

void t.test('an accepted date re-encodes byte for byte', (t) => {
  const date = fc.oneof(
    fc
      .integer({ min: 0, max: Date.UTC(9999, 11, 31) / 1000 })
      .map((seconds) => amzDate(seconds * 1000)),
    damaged('20260115T120000Z'),
    fc.stringMatching(/^\d{8}T\d{6}Z$/),
  )
  let accepted = 0
  fc.assert(
    fc.property(date, (text) => {
      const time = parseAmzDate(text)
      if (time === undefined) return true
      accepted += 1
      return amzDate(time) === text
    }),
    runs(10_000),
  )
  t.ok(accepted > 1000, `${String(accepted)} were accepted`)
  t.end()
})
