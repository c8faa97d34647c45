/** Tests x-forwarded-client-cert: the result is the last hop's value, regardless of what precedes it, or none. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import {
  parseCommonName,
  parseXfccSubject,
} from '../../../../src/server/trusted-proxy/forwarded-certificate.ts'
import { writeElement, writeName } from '../../../support/forwarded.ts'
import { damaged, runs } from '../../../support/fuzz.ts'

const KMS = 'CN=cks.kms.eu-west-1.amazonaws.com'
const CERT = '"-----BEGIN%20CERTIFICATE-----%0AMII%2B%3D%3D%0A"'

void t.test('the Subject of the last element', (t) => {
  for (const [header, expected] of [
    [`Subject="${KMS}"`, KMS],
    [`By=spiffe://a/b;Hash=0a;Subject="${KMS}"`, KMS],
    [`Hash=0a;Cert=${CERT};Chain=${CERT};Subject="${KMS}"`, KMS],
    [`hash=0a;SUBJECT="${KMS}";By=`, KMS],
    [`Hash=0a;Subject="CN=first",Hash=0b;Subject="${KMS}"`, KMS],
    [`Hash=0a,Hash=0b;Subject="${KMS}"`, KMS],
    [`Hash=0a;Subject="${KMS},O=Amazon.com\\, Inc."`, `${KMS},O=Amazon.com\\, Inc.`],
    ['Subject="CN=a\\"b\\\\"', 'CN=a\\"b\\\\'],
    ['Subject=""', ''],
  ] as const) {
    t.equal(parseXfccSubject(header), expected, header)
  }
  t.end()
})

void t.test('no result if anything is wrong', (t) => {
  for (const header of [
    '',
    ',',
    ';',
    KMS,
    'Hash=0a',
    `Subject=${KMS}`,
    'Subject=x',
    `Subject="${KMS}`,
    `Subject="${KMS}"x`,
    `Subject="${KMS}\\"`,
    `Subject="${KMS}" `,
    ` Subject="${KMS}"`,
    `Subject="${KMS}";`,
    `Subject="${KMS}",`,
    `,Subject="${KMS}"`,
    `Subject="${KMS}",Hash=0a`,
    `Subject="${KMS}";Subject="${KMS}"`,
    `Subject="a";Subject="b",Subject="${KMS}"`,
    `Subject="${KMS}", Subject="${KMS}"`,
    `Other=1;Subject="${KMS}"`,
    // The certificate's owner chooses these names, and Envoy does not quote them.
    `Subject="CN=evil";URI=x,Subject="${KMS}"`,
    `Subject="${KMS}";DNS=a.example`,
    `Subject="${KMS}\u00e9"`,
    `Subject="${KMS}"\n`,
  ]) {
    t.equal(parseXfccSubject(header), undefined, JSON.stringify(header))
  }
  t.end()
})

const pieces = fc.oneof(
  fc.constantFrom(
    '"',
    '\\',
    ',',
    ';',
    '=',
    'Subject',
    'Subject="',
    'Hash',
    `Subject="${KMS}"`,
    'By=x',
  ),
  fc.string({ maxLength: 3 }),
)
const prefix = fc.array(pieces, { maxLength: 12 }).map((parts) => parts.join(''))
const commonName = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  // The prefix is text that a malicious certificate owner might choose.
  prefix,
)

void t.test('text before the last hop that names KMS is ignored', (t) => {
  let read = 0
  fc.assert(
    fc.property(prefix, commonName, (before, name) => {
      const subject = writeName([['CN', name]])
      const header = `${before}${before === '' ? '' : ','}${writeElement(subject)}`
      const found = parseXfccSubject(header)
      if (found === undefined) return true
      read += 1
      return found === subject && parseCommonName(found) === name
    }),
    runs(50_000),
  )
  t.ok(read > 1000, `${String(read)} were read`)
  t.end()
})

void t.test('several hops, each as Envoy writes it, are read', (t) => {
  const hop = fc.tuple(fc.string({ unit: 'binary', maxLength: 30 }), fc.boolean())
  fc.assert(
    fc.property(fc.array(hop, { minLength: 1, maxLength: 4 }), (hops) => {
      const header = hops.map(([name, hasCert]) =>
        writeElement(writeName([['CN', name]]), hasCert ? { By: 'spiffe://a', Cert: CERT } : {}),
      )
      return parseXfccSubject(header.join(',')) === writeName([['CN', hops.at(-1)?.[0] ?? '']])
    }),
    runs(5_000),
  )
  t.end()
})

void t.test('a header that is damaged has the last Subject, or none', (t) => {
  const header = `${writeElement('CN=a')},${writeElement(KMS)}`
  fc.assert(
    fc.property(damaged(header), (text) => {
      const found = parseXfccSubject(text)
      return found === undefined || text.includes(`="${found}"`)
    }),
    runs(20_000),
  )
  t.end()
})
