/** Tests what the verifier accepts, and what it reports about the caller. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  ACCESS_KEY_ID,
  makeCredential,
  OTHER_ACCESS_KEY_ID,
  SECRET_ACCESS_KEY,
} from '../../support/credential.ts'
import { FakeClock } from '../../support/fake-clock.ts'
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
} from '../../support/sigv4-request.ts'
import { sha256 } from '../../support/sigv4-signer.ts'

const CALLER = { caller: { accessKeyId: ACCESS_KEY_ID, region: 'eu-west-1' } }
const BODY_HASH = sha256(KMS_REQUEST.body)

void t.test("the specification's minimum: host and x-amz-date signed, nothing else", (t) => {
  t.same(verdictOn(signed()), CALLER)
  t.same(verdictOn(signed({ headers: [HOST, DATE] })), CALLER)
  t.same(verdictOn(signed({ body: Buffer.alloc(0) })), CALLER)
  t.same(verdictOn(signed({ body: Buffer.from([0, 0xff, 0xc3, 0x28]) })), CALLER, 'no UTF-8')
  t.end()
})

void t.test('a request whose signature was computed elsewhere', (t) => {
  // This signature was computed from the text of Appendix A, using Python's hmac and hashlib.
  const authorization =
    'AWS4-HMAC-SHA256 Credential=AAAAAAAAAAAAAAAAAAAAAAAAAA/20260115/eu-west-1/kms-xks-proxy/aws4_request, SignedHeaders=host;x-amz-date, Signature=6934913d6e938840676954ea30f6dda03028d5707f7541b91f0fbf83278925fc'
  t.same(verdictOn(withHeader(signed(), 'authorization', authorization)), CALLER)
  t.end()
})

void t.test('each digit of the signature counts', (t) => {
  const request = signed()
  const authorization = request.rawHeaders.at(-1) ?? ''
  const start = authorization.length - 64
  for (let at = start; at < authorization.length; at++) {
    const other = authorization.charAt(at) === '0' ? '1' : '0'
    const changed = `${authorization.slice(0, at)}${other}${authorization.slice(at + 1)}`
    const { code } = verdictOn(withHeader(request, 'authorization', changed))
    t.equal(code, 'SIGNATURE_MISMATCH', `digit ${String(at - start + 1)}`)
  }
  t.end()
})

void t.test('any further headers may be signed, in any case and order on the wire', (t) => {
  const headers = [
    ['x-extra', 'b'],
    ['CONTENT-LENGTH', String(KMS_REQUEST.body.length)],
    DATE,
    ['X-Extra', '  a    z '],
    ['content-type', 'application/json'],
    ['X_Under-Score', ''],
    HOST,
  ] as const
  const signedNames = [...new Set(headers.map(([name]) => name.toLowerCase()))].sort()
  t.same(verdictOn(signed({ headers, signedNames })), CALLER)
  t.end()
})

void t.test('a header that is not signed may be anything', (t) => {
  const request = signed()
  t.same(verdictOn(withHeader(request, 'content-type', 'text/plain')), CALLER)
  t.same(verdictOn(withHeader(request, 'content-type', undefined)), CALLER)
  t.same(verdictOn(withMore(request, 'Date', 'yesterday', 'Via', 'a', 'Via', 'b')), CALLER)
  t.end()
})

void t.test('a signed x-amz-content-sha256 that is the hash of the body is accepted', (t) => {
  const headers = [HOST, DATE, ['X-Amz-Content-Sha256', BODY_HASH]] as const
  const signedNames = ['host', 'x-amz-content-sha256', 'x-amz-date']
  t.same(verdictOn(signed({ headers, signedNames })), CALLER)
  t.end()
})

void t.test('on HTTP/2 the signed host is :authority, under either name', (t) => {
  const pseudo = [
    [':method', 'POST'],
    [':path', KMS_REQUEST.target],
    [':authority', 'xks.example.com'],
  ] as const
  const signedAsHost = signed().rawHeaders.at(-1) ?? ''
  const request = { ...signed(), rawHeaders: [...pseudo, DATE].flat() }
  t.same(verdictOn(withMore(request, 'authorization', signedAsHost)), CALLER)
  const other = { ...signed(), rawHeaders: [':authority', 'xks.example.org', ...DATE] }
  t.equal(verdictOn(withMore(other, 'authorization', signedAsHost)).code, 'SIGNATURE_MISMATCH')

  const signedNames = [':authority', 'x-amz-date']
  t.same(verdictOn(signed({ headers: [...pseudo, DATE], signedNames })), CALLER)
  t.equal(
    verdictOn(signed({ headers: [HOST, DATE], signedNames })).code,
    'HEADER_MISSING',
    'a host is no :authority',
  )
  t.end()
})

void t.test(':authority stands in for a missing host, and for no other header', (t) => {
  const headers = [[':authority', 'xks.example.com'], ['X-Extra', 'xks.example.com'], DATE] as const
  const request = signed({ headers, signedNames: [':authority', 'x-amz-date', 'x-extra'] })
  t.same(verdictOn(request), CALLER)
  t.equal(verdictOn(withHeader(request, 'x-extra', undefined)).code, 'HEADER_MISSING')
  t.end()
})

void t.test('if Host is present, it is the signed one, whatever :authority contains', (t) => {
  const request = signed({ headers: [[':authority', 'other.example.com'], HOST, DATE] })
  t.same(verdictOn(request), CALLER)
  t.equal(
    verdictOn(withHeader(request, 'host', 'other.example.com')).code,
    'SIGNATURE_MISMATCH',
    'a correct :authority does not make up for a wrong Host',
  )
  t.end()
})

void t.test('the method is part of what is signed', (t) => {
  t.same(verdictOn(signed({ method: 'GET' })), CALLER, '405 is the answer of another part')
  t.equal(verdictOn({ ...signed(), method: 'GET' }).code, 'SIGNATURE_MISMATCH')
  t.equal(verdictOn({ ...signed(), method: 'post' }).code, 'SIGNATURE_MISMATCH')
  t.end()
})

void t.test('two active credentials: each signs with its own secret only', (t) => {
  const first = makeCredential()
  const second = makeCredential({ accessKeyId: OTHER_ACCESS_KEY_ID, secret: 't'.repeat(43) })
  const lookup = (id: string) => [first, second].find(({ accessKeyId }) => accessKeyId === id)
  const asSecond = { accessKeyId: OTHER_ACCESS_KEY_ID, secretAccessKey: 't'.repeat(43) }
  t.same(verdictOn(signed(), { lookup }), CALLER)
  t.equal(verdictOn(signed(asSecond), { lookup }).caller?.accessKeyId, OTHER_ACCESS_KEY_ID)
  t.equal(
    verdictOn(signed({ ...asSecond, secretAccessKey: SECRET_ACCESS_KEY }), { lookup }).code,
    'SIGNATURE_MISMATCH',
  )
  t.equal(
    verdictOn(signed({ secretAccessKey: 't'.repeat(43) }), { lookup }).code,
    'SIGNATURE_MISMATCH',
  )
  t.end()
})

void t.test('a credential is valid until its expiry, and refused from that instant', (t) => {
  const lookup = () => makeCredential({ expiresAt: NOW })
  const clock = new FakeClock(NOW - 1)
  t.same(verdictOn(signed(), { lookup, clock }), CALLER)
  clock.advance(1)
  t.equal(verdictOn(signed(), { lookup, clock }).code, 'CREDENTIAL_EXPIRED')
  t.equal(
    verdictOn(signed({ secretAccessKey: 'x'.repeat(43) }), { lookup, clock }).code,
    'SIGNATURE_MISMATCH',
    'only who can sign learns of it',
  )
  t.end()
})

void t.test('the region is reported, and may be any unless regions are listed', (t) => {
  const region = 'us-gov-west-1'
  t.equal(verdictOn(signed({ region })).caller?.region, region)
  const regions = ['eu-west-1', 'us-gov-west-1']
  t.equal(verdictOn(signed({ region }), { regions }).caller?.region, region)
  t.same(verdictOn(signed(), { regions }), CALLER)
  t.equal(verdictOn(signed({ region: 'eu-west-2' }), { regions }).code, 'SCOPE_MISMATCH')
  t.equal(verdictOn(signed({ region: 'eu-west' }), { regions }).code, 'SCOPE_MISMATCH')
  t.equal(verdictOn(signed(), { regions: [] }).code, 'SCOPE_MISMATCH')
  t.end()
})

void t.test('x-amz-date may be five minutes away, either way, and not a second more', (t) => {
  for (const [offset, code] of [
    [0, undefined],
    [299_999, undefined],
    [300_000, undefined],
    [300_001, 'DATE_SKEWED'],
    [3_600_000, 'DATE_SKEWED'],
  ] as const) {
    for (const sign of [1, -1]) {
      const clock = new FakeClock(NOW + sign * offset)
      t.equal(verdictOn(signed(), { clock }).code, code, `${String(sign * offset)} ms`)
    }
  }
  t.end()
})

void t.test('around midnight, the day of the scope is that of x-amz-date', (t) => {
  const clock = new FakeClock(Date.UTC(2026, 0, 16, 0, 1))
  const late = (more: object) =>
    signed({
      headers: [HOST, ['X-Amz-Date', '20260115T235959Z']],
      amzDate: '20260115T235959Z',
      ...more,
    })
  t.same(verdictOn(late({}), { clock }), CALLER, 'signed yesterday, received today')
  t.equal(verdictOn(late({ scopeDate: '20260116' }), { clock }).code, 'SCOPE_MISMATCH')
  t.equal(verdictOn(signed({ scopeDate: '20260114' })).code, 'SCOPE_MISMATCH')
  t.equal(verdictOn(signed({ amzDate: AMZ_DATE, scopeDate: '20250115' })).code, 'SCOPE_MISMATCH')
  t.end()
})
