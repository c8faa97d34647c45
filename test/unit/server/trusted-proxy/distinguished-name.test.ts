/**
 * Tests parsing subjects as written by OpenSSL: the result is the same common name that Node.js finds in the
 * certificate, or none.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { parseCommonName } from '../../../../src/server/trusted-proxy/forwarded-certificate.ts'
import { writeName } from '../../../support/forwarded.ts'
import { damaged, runs } from '../../../support/fuzz.ts'
import { issueEcCertificate } from '../../../support/handshake.ts'
import { testPki } from '../../../support/pki.ts'

const KMS = 'cks.kms.eu-west-1.amazonaws.com'

void t.test('reads the common name at any position', (t) => {
  for (const [name, expected] of [
    [`CN=${KMS}`, KMS],
    [`cn=${KMS}`, KMS],
    [`2.5.4.3=${KMS}`, KMS],
    [`CN=${KMS},O=Amazon.com\\, Inc.,L=Seattle,C=US`, KMS],
    [`O=x+CN=${KMS},C=US`, KMS],
    ['CN=a\\2Cb\\C3\\A9', 'a,b\u00e9'],
    ['CN=', ''],
    ['1.2.3.4=#0401ff,CN=a=b', 'a=b'],
  ] as const) {
    t.equal(parseCommonName(name), expected, name)
  }
  t.end()
})

void t.test('any other text is not a name, or does not have exactly one common name', (t) => {
  for (const name of [
    '',
    KMS,
    'O=x',
    `CN=${KMS},CN=${KMS}`,
    `CN=${KMS}+CN=other`,
    `CN=${KMS},2.5.4.3=other`,
    `/CN=${KMS}`,
    `/C=US/CN=${KMS}`,
    `CN=${KMS},`,
    `,CN=${KMS}`,
    `CN=${KMS}, O=x`,
    `CN=${KMS};O=x`,
    `CN="${KMS}"`,
    `CN=${KMS}\\`,
    'CN=\\q',
    'CN=\\C3',
    'CN=\u00e9',
    `CN=${KMS}\n`,
    `CN =${KMS}`,
  ]) {
    t.equal(parseCommonName(name), undefined, JSON.stringify(name))
  }
  t.end()
})

void t.test("a name in OpenSSL's format is read as Node.js reads the certificate", async (t) => {
  const pki = await testPki()
  for (const [i, commonName] of [
    KMS,
    'a, b+c"<>;',
    '#x',
    ' x ',
    'back\\\\slash',
    'd\u00e9j\u00e0=\u4e16',
  ].entries()) {
    const subject = `/C=US/O=Amazon.com, Inc./CN=${commonName.replaceAll('+', '\\+')}`
    const { certificateFile } = await issueEcCertificate(pki, `subject-${String(i)}`, subject)
    const written = execFileSync('openssl', [
      ...['x509', '-in', certificateFile, '-noout', '-subject', '-nameopt', 'RFC2253'],
    ])
    const name = written
      .toString()
      .trimEnd()
      .replace(/^subject=/, '')
    const { subject: found } = new X509Certificate(readFileSync(certificateFile)).toLegacyObject()
    t.equal(parseCommonName(name), found.CN, name)
  }
})

void t.test('every name that is written is read, and only one of its form is', (t) => {
  const text = fc.string({ unit: 'binary', maxLength: 40 })
  const pair = fc.tuple(fc.constantFrom<string>('O', 'C', 'OU', '1.2.3', 'emailAddress'), text)
  fc.assert(
    fc.property(text, fc.array(pair, { maxLength: 4 }), fc.nat(4), (commonName, pairs, at) => {
      const all = pairs.toSpliced(Math.min(at, pairs.length), 0, ['CN', commonName])
      return parseCommonName(writeName(all)) === commonName
    }),
    runs(5_000),
  )
  fc.assert(
    fc.property(damaged(`CN=${KMS},O=Amazon.com\\, Inc.,C=US`), (name) => {
      const found = parseCommonName(name)
      // KMS's name must be a complete attribute value, not part of a longer one.
      return (
        found !== KMS ||
        /(^|[,+])(CN|2\.5\.4\.3)=cks\.kms\.eu-west-1\.amazonaws\.com($|[,+])/i.test(name)
      )
    }),
    runs(20_000),
  )
  t.end()
})
