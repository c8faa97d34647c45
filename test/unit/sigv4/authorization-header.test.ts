/** Tests the Authorization header: only one format is accepted, and the caching parser and the plain parser agree. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { parseAuthorization } from '../../../src/sigv4/authorization-header.ts'

const SIGNATURE = '1164eaa8e79eacaa9c0df54aa42f3b300380d14bedfc08e3b319648d4abfff66'
const SCOPE = '20211009/us-west-2/kms-xks-proxy/aws4_request'
/** The example in XKS 1.0.3, Appendix A. Its access key id has 52 characters, more than the specification permits. */
const EXAMPLE = `AWS4-HMAC-SHA256 Credential=MUBSXM6K3KMXHN6RRCXI7TWQH4NU76HYFKRSESPMTSTIBADXQQXQ/${SCOPE}, SignedHeaders=host;x-amz-date, Signature=${SIGNATURE}`

const header = (parts: {
  readonly credential?: string
  readonly names?: string
  readonly signature?: string
}) =>
  `AWS4-HMAC-SHA256 Credential=${parts.credential ?? `AKID/${SCOPE}`}, SignedHeaders=${parts.names ?? 'host;x-amz-date'}, Signature=${parts.signature ?? SIGNATURE}`

void t.test("the specification's example", (t) => {
  t.same(parseAuthorization(EXAMPLE), {
    accessKeyId: 'MUBSXM6K3KMXHN6RRCXI7TWQH4NU76HYFKRSESPMTSTIBADXQQXQ',
    scope: { date: '20211009', region: 'us-west-2', service: 'kms-xks-proxy' },
    signedHeaders: ['host', 'x-amz-date'],
    signature: SIGNATURE,
  })
  t.end()
})

void t.test('at most 32 headers are signed', (t) => {
  const names = (count: number) =>
    Array.from({ length: count }, (_, i) => `x-${String(i).padStart(3, '0')}`).join(';')
  t.equal(parseAuthorization(header({ names: names(32) }))?.signedHeaders.length, 32)
  for (const count of [33, 100, 170])
    t.equal(parseAuthorization(header({ names: names(count) })), undefined, String(count))
  t.end()
})

void t.test('other accepted formats', (t) => {
  t.ok(parseAuthorization(EXAMPLE.replaceAll(', ', ',')), 'no space after the commas')
  t.ok(parseAuthorization(EXAMPLE.replace('SHA256 ', 'SHA256   ')), 'spaces after the algorithm')
  t.equal(parseAuthorization(header({ credential: `akid7/${SCOPE}` }))?.accessKeyId, 'akid7')
  t.same(parseAuthorization(header({ names: ':authority;x-amz-date' }))?.signedHeaders, [
    ':authority',
    'x-amz-date',
  ])
  t.same(parseAuthorization(header({ names: 'x' }))?.signedHeaders, ['x'])
  t.ok(parseAuthorization(header({ credential: `${'A'.repeat(128)}/${SCOPE}` })), '128 characters')
  t.ok(parseAuthorization(header({ names: 'a'.repeat(1024) })), '1,024 characters of names')
  t.end()
})

const REFUSED: Readonly<Record<string, string>> = {
  nothing: '',
  'another word in front': EXAMPLE.replace('AWS4-HMAC-SHA256', 'Bearer'),
  'the algorithm in lower case': EXAMPLE.replace('AWS4-HMAC-SHA256', 'aws4-hmac-sha256'),
  SigV4A: EXAMPLE.replace('AWS4-HMAC-SHA256', 'AWS4-ECDSA-P256-SHA256'),
  SigV2: 'AWS AKIDEXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=',
  'no space after the algorithm': EXAMPLE.replace('SHA256 ', 'SHA256'),
  'a comma after the algorithm': EXAMPLE.replace('SHA256 ', 'SHA256, '),
  'a tab after the algorithm': EXAMPLE.replace('SHA256 ', 'SHA256\t'),
  'a space in front': ` ${EXAMPLE}`,
  'a space behind': `${EXAMPLE} `,
  'a line feed behind': `${EXAMPLE}\n`,
  'a second header, joined': `${EXAMPLE}, ${EXAMPLE}`,
  'two spaces after a comma': EXAMPLE.replace(', S', ',  S'),
  'a space before a comma': EXAMPLE.replace(', S', ' , S'),
  'a semicolon for a comma': EXAMPLE.replace(', S', '; S'),
  'another order': `AWS4-HMAC-SHA256 SignedHeaders=host;x-amz-date, Credential=AKID/${SCOPE}, Signature=${SIGNATURE}`,
  'Signature before SignedHeaders': `AWS4-HMAC-SHA256 Credential=AKID/${SCOPE}, Signature=${SIGNATURE}, SignedHeaders=host;x-amz-date`,
  'no Credential': `AWS4-HMAC-SHA256 SignedHeaders=host;x-amz-date, Signature=${SIGNATURE}`,
  'no SignedHeaders': `AWS4-HMAC-SHA256 Credential=AKID/${SCOPE}, Signature=${SIGNATURE}`,
  'no Signature': `AWS4-HMAC-SHA256 Credential=AKID/${SCOPE}, SignedHeaders=host;x-amz-date`,
  'Credential twice': EXAMPLE.replace(' Credential', ` Credential=AKID/${SCOPE}, Credential`),
  'Signature twice': `${EXAMPLE}, Signature=${SIGNATURE}`,
  'a further part': `${EXAMPLE}, More=1`,
  'a part in lower case': EXAMPLE.replace('Signature', 'signature'),
  'no access key id': header({ credential: `/${SCOPE}` }),
  'an access key id of 129 characters': header({ credential: `${'A'.repeat(129)}/${SCOPE}` }),
  'an access key id with a slash': header({ credential: `AK/ID/${SCOPE}` }),
  'an access key id with an underscore': header({ credential: `AK_ID/${SCOPE}` }),
  'an access key id beyond ASCII': header({ credential: `AK\u00cfD/${SCOPE}` }),
  'a date of seven digits': header({ credential: 'AKID/2021100/r/s/aws4_request' }),
  'a date with dashes': header({ credential: 'AKID/2021-10-09/r/s/aws4_request' }),
  'digits that are not ASCII': header({ credential: 'AKID/２０２１１００９/r/s/aws4_request' }),
  'an empty region': header({ credential: 'AKID/20211009//s/aws4_request' }),
  'a region in upper case': header({ credential: 'AKID/20211009/US-WEST-2/s/aws4_request' }),
  'a region of 65 characters': header({
    credential: `AKID/20211009/${'r'.repeat(65)}/s/aws4_request`,
  }),
  'an empty service': header({ credential: 'AKID/20211009/r//aws4_request' }),
  'a scope without its end': header({ credential: 'AKID/20211009/r/s' }),
  'a scope with another end': header({ credential: 'AKID/20211009/r/s/aws5_request' }),
  'a scope with more at its end': header({ credential: `AKID/${SCOPE}/x` }),
  'no names': header({ names: '' }),
  'an empty name at the start': header({ names: ';host;x-amz-date' }),
  'an empty name in the middle': header({ names: 'host;;x-amz-date' }),
  'an empty name at the end': header({ names: 'host;x-amz-date;' }),
  'names in another order': header({ names: 'x-amz-date;host' }),
  'a name twice': header({ names: 'host;host;x-amz-date' }),
  'a name in upper case': header({ names: 'Host;x-amz-date' }),
  'names with a space': header({ names: 'host; x-amz-date' }),
  'names with commas': header({ names: 'host,x-amz-date' }),
  'a name with a period': header({ names: 'ho.st;x-amz-date' }),
  '1,025 characters of names': header({ names: 'a'.repeat(1025) }),
  'no signature': header({ signature: '' }),
  'a signature of 63 digits': header({ signature: SIGNATURE.slice(1) }),
  'a signature of 65 digits': header({ signature: `${SIGNATURE}0` }),
  'a signature in upper case': header({ signature: SIGNATURE.toUpperCase() }),
  'a signature with another letter': header({ signature: `g${SIGNATURE.slice(1)}` }),
  'a signature in Base64': header({ signature: Buffer.from(SIGNATURE, 'hex').toString('base64') }),
}

void t.test('every other format is refused', (t) => {
  for (const [what, text] of Object.entries(REFUSED))
    t.equal(parseAuthorization(text), undefined, what)
  t.end()
})
