/** Tests what the verifier rejects: every error code, in many variants, and the order of the checks. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { SignedRequest } from '../../../src/sigv4/verify.ts'
import { makeCredential, OTHER_ACCESS_KEY_ID } from '../../support/credential.ts'
import { read, section, tableRows } from '../../support/repository.ts'
import {
  AMZ_DATE,
  DATE,
  HOST,
  KMS_REQUEST,
  NOW,
  signed,
  verdictOn,
  withHeader,
  withMore,
  type Asking,
} from '../../support/sigv4-request.ts'
import { sha256 } from '../../support/sigv4-signer.ts'

/** Returns all documented error codes. A guard test compares them with those in the source. */
function documentedCodes(): readonly string[] {
  const [, ...rows] = tableRows(section(read('docs/sigv4.md'), '## Refusals'))
  return rows.map(([code = '']) => code.replaceAll('`', ''))
}

/** Returns a request with exactly the errors that trigger these codes. */
function faulty(codes: readonly string[]): { request: SignedRequest; asking: Asking } {
  const has = (code: string) => codes.includes(code)
  const amzDate = has('DATE_MALFORMED') ? 'now' : has('DATE_SKEWED') ? '20260114T120000Z' : AMZ_DATE
  const hash = sha256(has('BODY_HASH_MISMATCH') ? 'another body' : KMS_REQUEST.body)
  const request = signed({
    target: has('TARGET_REFUSED') ? `${KMS_REQUEST.target}?a=b` : KMS_REQUEST.target,
    headers: [
      HOST,
      ['Content-Type', 'application/json'],
      ...(has('HEADER_REPEATED') ? [['Content-Type', 'application/json'] as const] : []),
      ...(has('TOKEN_REFUSED') ? [['X-Amz-Security-Token', 'token'] as const] : []),
      ...(has('HEADERS_TOO_MANY') ? Array.from({ length: 97 }, () => ['x', ''] as const) : []),
      ['X-Amz-Content-Sha256', hash],
      ['X-Amz-Date', amzDate],
    ],
    signedNames: [
      ...(has('HEADER_UNSIGNED') ? [] : ['host']),
      'x-amz-content-sha256',
      'x-amz-date',
      ...(has('HEADER_MISSING') ? ['x-nowhere'] : []),
    ],
    amzDate,
    scopeDate: has('DATE_SKEWED') ? '20260114' : '20260115',
    ...(has('SCOPE_MISMATCH') ? { service: 's3' } : {}),
    ...(has('CREDENTIAL_UNKNOWN') ? { accessKeyId: OTHER_ACCESS_KEY_ID } : {}),
    ...(has('SIGNATURE_MISMATCH') ? { secretAccessKey: 'x'.repeat(43) } : {}),
  })
  const authorization = has('AUTHORIZATION_MISSING')
    ? undefined
    : has('AUTHORIZATION_MALFORMED')
      ? 'Basic QTpC'
      : request.rawHeaders.at(-1)
  const credential = makeCredential({ expiresAt: has('CREDENTIAL_EXPIRED') ? NOW : NOW + 1 })
  return {
    request: withHeader(request, 'authorization', authorization),
    asking: { lookup: (id) => (id === credential.accessKeyId ? credential : undefined) },
  }
}

void t.test('each fault alone has its code', (t) => {
  t.ok(verdictOn(faulty([]).request).caller, 'without a fault it is accepted')
  for (const code of documentedCodes()) {
    const { request, asking } = faulty([code])
    t.equal(verdictOn(request, asking).code, code)
  }
  t.end()
})

void t.test('with several faults, the first in the order of docs/sigv4.md is reported', (t) => {
  const codes = documentedCodes()
  for (const [i, code] of codes.entries()) {
    const { request, asking } = faulty(codes.slice(i))
    t.equal(verdictOn(request, asking).code, code)
  }
  t.end()
})

void t.test('a message quotes nothing of the request', (t) => {
  for (const code of documentedCodes()) {
    const { request, asking } = faulty([code])
    const message = verdictOn(request, asking).message ?? ''
    t.match(message, /^[ -~]{10,}$/, code)
    t.notMatch(message, /[A-Z2-7]{20}|[0-9a-f]{32}|FYtE5|xxxx|example\.com/, code)
  }
  t.end()
})

const REFUSED_TARGETS = [
  '',
  '*',
  '/',
  '//',
  '/demo/',
  '//demo',
  '/demo//health',
  '/demo/health/',
  '/demo/./health',
  '/demo/../health',
  '/demo/health/.',
  '/demo/health/..',
  '/..',
  '/demo/health?',
  '/demo/health?a=b',
  '/demo/health#a',
  '/demo/he%61lth',
  '/demo/health%2e',
  '/demo/he alth',
  '/demo/he~alth',
  '/demo/he+alth',
  '/demo;v=1/health',
  '/demo/he\\alth',
  '/demo/he\u00e4lth',
  '/demo/he\u0000alth',
  '/demo/health\n',
  'demo/health',
  'https://xks.example.com/demo/health',
  'xks.example.com:443',
] as const

void t.test('targets that are refused although their signature is right', (t) => {
  for (const target of REFUSED_TARGETS)
    t.equal(verdictOn(signed({ target })).code, 'TARGET_REFUSED', JSON.stringify(target))
  for (const target of ['/a', '/a.b/..c/d..', '/.../_-', `/${'a'.repeat(2000)}`])
    t.ok(verdictOn(signed({ target })).caller, target)
  t.end()
})

void t.test('headers that appear twice, even with the same value', (t) => {
  const request = signed({
    headers: [HOST, ['Content-Length', '22'], ['Content-Type', 'application/json'], DATE],
  })
  t.ok(verdictOn(request).caller)
  const authorization = request.rawHeaders.at(-1) ?? ''
  for (const [name, value] of [
    ['authorization', authorization],
    ['Authorization', 'Basic QTpC'],
    ['HOST', HOST[1]],
    ['host', 'xks.example.org'],
    ['x-amz-date', AMZ_DATE],
    ['content-length', '22'],
    ['Content-Type', 'text/plain'],
  ] as const) {
    t.equal(verdictOn(withMore(request, name, value)).code, 'HEADER_REPEATED', name)
  }
  const twice = [':authority', 'xks.example.com', ':authority', 'xks.example.com']
  t.equal(verdictOn(withMore(request, ...twice)).code, 'HEADER_REPEATED', ':authority')
  const signedTwice = signed({ headers: [HOST, HOST, DATE] })
  t.equal(verdictOn(signedTwice).code, 'HEADER_REPEATED', 'both signed, joined by a comma')
  t.end()
})

void t.test('required headers that are not signed', (t) => {
  for (const signedNames of [['host'], ['x-amz-date'], ['content-type'], ['content-type', 'host']])
    t.equal(verdictOn(signed({ signedNames })).code, 'HEADER_UNSIGNED', signedNames.join(';'))
  const hash = ['X-Amz-Content-Sha256', sha256(KMS_REQUEST.body)] as const
  t.equal(
    verdictOn(withMore(signed(), ...hash)).code,
    'HEADER_UNSIGNED',
    'the hash of the body, added by somebody',
  )
  t.end()
})

void t.test('values of x-amz-content-sha256 that are not the hash of the body', (t) => {
  const hash = sha256(KMS_REQUEST.body)
  const signedNames = ['host', 'x-amz-content-sha256', 'x-amz-date']
  for (const value of [
    'UNSIGNED-PAYLOAD',
    'STREAMING-UNSIGNED-PAYLOAD-TRAILER',
    'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
    'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
    sha256(''),
    hash.toUpperCase(),
    ` ${hash}`,
    hash.slice(1),
    '',
  ]) {
    const headers = [HOST, DATE, ['X-Amz-Content-Sha256', value]] as const
    t.equal(verdictOn(signed({ headers, signedNames })).code, 'BODY_HASH_MISMATCH', value)
  }
  const twice = ['X-Amz-Content-Sha256', hash] as const
  const headers = [HOST, DATE, twice, twice]
  t.equal(verdictOn(signed({ headers, signedNames })).code, 'BODY_HASH_MISMATCH', 'twice')
  t.end()
})

void t.test('a session token is refused, signed or not, empty or not', (t) => {
  for (const value of ['token', '']) {
    const token = ['X-Amz-Security-Token', value] as const
    t.equal(verdictOn(withMore(signed(), ...token)).code, 'TOKEN_REFUSED')
    const headers = [HOST, DATE, token]
    const signedNames = ['host', 'x-amz-date', 'x-amz-security-token']
    t.equal(verdictOn(signed({ headers, signedNames })).code, 'TOKEN_REFUSED')
  }
  t.end()
})

void t.test('a missing x-amz-date, with or without a Date header', (t) => {
  const undated = withHeader(signed(), 'x-amz-date', undefined)
  t.equal(verdictOn(undated).code, 'DATE_MALFORMED')
  t.equal(verdictOn(withMore(undated, 'Date', new Date(NOW).toUTCString())).code, 'DATE_MALFORMED')
  t.equal(verdictOn(withHeader(signed(), 'x-amz-date', ` ${AMZ_DATE}`)).code, 'DATE_MALFORMED')
  t.end()
})

void t.test('services other than kms-xks-proxy', (t) => {
  for (const service of ['kms', 'kms-xks-proxy2', 'xks-proxy', 'service'])
    t.equal(verdictOn(signed({ service })).code, 'SCOPE_MISMATCH', service)
  t.end()
})

void t.test('a presigned query does not replace the Authorization header', (t) => {
  const { rawHeaders } = signed()
  const target = `${KMS_REQUEST.target}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00`
  t.equal(verdictOn({ ...signed(), target }).code, 'TARGET_REFUSED')
  const bare = { ...signed(), rawHeaders: rawHeaders.slice(0, -2) }
  t.equal(verdictOn(bare).code, 'AUTHORIZATION_MISSING')
  t.equal(verdictOn({ ...bare, rawHeaders: [] }).code, 'AUTHORIZATION_MISSING')
  t.end()
})

void t.test('a request with a hundred headers is accepted, and one more is refused', (t) => {
  const withHeaders = (count: number) => {
    // The signer adds one more header, Authorization.
    const fillers = Array.from({ length: count - 3 }, () => ['x', ''] as const)
    return signed({ headers: [HOST, DATE, ...fillers] })
  }
  t.equal(withHeaders(100).rawHeaders.length, 200)
  t.ok(verdictOn(withHeaders(100)).caller)
  t.equal(verdictOn(withHeaders(101)).code, 'HEADERS_TOO_MANY')
  t.end()
})
