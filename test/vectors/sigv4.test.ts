/** Runs AWS's own SigV4 cases, and compares every intermediate result and the verdicts in docs/sigv4.md. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { Secret } from '../../src/core/secret.ts'
import { type Authorization, parseAuthorization } from '../../src/sigv4/authorization-header.ts'
import type { CredentialLookup } from '../../src/sigv4/credential.ts'
import { SignatureError } from '../../src/sigv4/errors.ts'
import { WireHeaders, canonicalRequest, stringToSign } from '../../src/sigv4/signed-headers.ts'
import { deriveSigningKey, sha256Hex } from '../../src/sigv4/signing-key.ts'
import { SERVICE, type SignedRequest, createVerifier } from '../../src/sigv4/verify.ts'
import { makeCredential } from '../support/credential.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { read, section, tableRows } from '../support/repository.ts'
import { authorizationOf } from '../support/sigv4-signer.ts'
import { type SuiteCase, loadSuite } from '../support/sigv4-suite.ts'

const SUITE = loadSuite()
const CASES = 38

/** Path used instead of `/`, which is not a path of the API. */
const XKS_PATH = '/demo/kms/xks/v1/health'

interface Expectation {
  /** Intermediate results that must match: all, or all except the canonical request's path or query. */
  readonly artefacts: 'all' | 'path' | 'query'
  /** Expected verdict: `accepted` or an error code. */
  readonly verdict: string
}

function readExpectations(): ReadonlyMap<string, Expectation> {
  const [, ...rows] = tableRows(section(read('docs/sigv4.md'), '## The published test suite'))
  return new Map(
    rows.map(([name = '', artefacts = '', verdict = '', why = '']) => {
      if (artefacts !== 'all' && artefacts !== 'path' && artefacts !== 'query')
        throw new Error(`${name}: ${artefacts} is none of the words of that column`)
      if (why === '') throw new Error(`${name} has no reason`)
      return [name.replaceAll('`', ''), { artefacts, verdict: verdict.replaceAll('`', '') }]
    }),
  )
}

const EXPECTED = readExpectations()

function header(rawHeaders: readonly string[], name: string): string {
  return new WireHeaders(rawHeaders).single(name) ?? ''
}

function authorizationIn(item: SuiteCase): Authorization {
  const parsed = parseAuthorization(header(item.rawHeaders, 'authorization'))
  if (parsed === undefined) throw new Error(`${item.name}: our parser refuses its Authorization`)
  return parsed
}

/** Builds the canonical request for the signed request with our own functions. The path is used unchanged. */
function ourCanonicalRequest(item: SuiteCase, authorization: Authorization): string {
  const headers = new WireHeaders(item.rawHeaders)
  const [path = '', query = ''] = item.target.split('?')
  return canonicalRequest({
    method: item.method,
    canonicalUri: path,
    canonicalQuery: query,
    headers: authorization.signedHeaders.map((name) => [name, headers.canonical(name) ?? '']),
    bodyHash: sha256Hex(item.body),
  })
}

void t.test('the whole suite is there, and docs/sigv4.md names each case once', (t) => {
  t.equal(SUITE.length, CASES)
  const [, ...rows] = tableRows(section(read('docs/sigv4.md'), '## The published test suite'))
  t.same(
    rows.map(([name = '']) => name.replaceAll('`', '')),
    SUITE.map(({ name }) => name),
  )
  t.end()
})

void t.test('the canonical request is the published one', (t) => {
  const PATH_LINE = 1
  const QUERY_LINE = 2
  for (const item of SUITE) {
    const ours = ourCanonicalRequest(item, authorizationIn(item)).split('\n')
    const published = item.canonicalRequest.split('\n')
    const differing = ours.flatMap((line, i) => (line === published[i] ? [] : [i]))
    t.equal(ours.length, published.length, `${item.name}: lines`)
    const { artefacts } = EXPECTED.get(item.name) ?? {}
    const expected = artefacts === 'path' ? [PATH_LINE] : artefacts === 'query' ? [QUERY_LINE] : []
    t.same(differing, expected, `${item.name}: lines that differ`)
  }
  t.end()
})

void t.test('string to sign, signing key and signature are the published ones', (t) => {
  for (const item of SUITE) {
    const authorization = authorizationIn(item)
    const { scope, accessKeyId, signature } = authorization
    t.same(
      { accessKeyId, region: scope.region, service: scope.service },
      { accessKeyId: item.accessKeyId, region: item.region, service: item.service },
      `${item.name}: credential`,
    )
    const amzDate = header(item.rawHeaders, 'x-amz-date')
    const text = stringToSign(amzDate, scope, item.canonicalRequest)
    t.equal(text, item.stringToSign, `${item.name}: string to sign`)
    const key = deriveSigningKey(new Secret(item.secretAccessKey), scope)
    t.equal(key.sign(text), item.signature, `${item.name}: signature`)
    t.equal(signature, item.signature, `${item.name}: the signature that was sent`)
  }
  t.end()
})

/** Returns a lookup that knows only the suite's access key id, which is too short for XKS. */
function lookupOf(item: SuiteCase): CredentialLookup {
  const credential = makeCredential({ secret: item.secretAccessKey })
  return (id) => (id === item.accessKeyId ? credential : undefined)
}

function verdictOn(item: SuiteCase, request: SignedRequest): string {
  const verifier = createVerifier({ clock: new FakeClock(item.at), clockSkewMs: 300_000 })
  try {
    verifier.verify(request, { lookup: lookupOf(item), regions: undefined })
    return 'accepted'
  } catch (error) {
    if (error instanceof SignatureError) return error.code
    throw error
  }
}

/** Adapts the case to our service: moves its path below one of ours, and re-signs AWS's canonical form. */
function onXksPath(item: SuiteCase): SignedRequest {
  const place = (path: string) => (path === '/' ? XKS_PATH : XKS_PATH + path)
  const lines = item.canonicalRequest.split('\n')
  lines[1] = place(lines[1] ?? '')
  const [path = '', ...query] = item.target.split('?')
  const plain = item.rawHeaders.flatMap((name, i) =>
    i % 2 === 0 && name !== 'Authorization' ? [[name, item.rawHeaders[i + 1] ?? ''] as const] : [],
  )
  const authorization = authorizationOf(
    {
      ...item,
      headers: plain,
      signedNames: authorizationIn(item).signedHeaders,
      amzDate: header(item.rawHeaders, 'x-amz-date'),
      service: SERVICE,
    },
    lines.join('\n'),
  )
  return {
    method: item.method,
    target: [place(path), ...query].join('?'),
    rawHeaders: [...plain.flat(), 'Authorization', authorization],
    body: item.body,
  }
}

void t.test('as published, every case is refused: none has a path of this API', (t) => {
  for (const item of SUITE) t.equal(verdictOn(item, item), 'TARGET_REFUSED', item.name)
  t.end()
})

void t.test('with our path alone, every case is refused for its service', (t) => {
  for (const item of SUITE) {
    t.equal(verdictOn(item, { ...item, target: XKS_PATH }), refusalOf(item), item.name)
  }
  t.end()
})

/** Returns the expected refusal. The security token is checked before the scope. */
function refusalOf(item: SuiteCase): string {
  return header(item.rawHeaders, 'x-amz-security-token') === '' ? 'SCOPE_MISMATCH' : 'TOKEN_REFUSED'
}

void t.test(
  'on a path of this API, and for its service, the verdicts of docs/sigv4.md hold',
  (t) => {
    for (const item of SUITE) {
      t.equal(verdictOn(item, onXksPath(item)), EXPECTED.get(item.name)?.verdict, item.name)
    }
    t.end()
  },
)

void t.test('what is accepted there is refused with another byte in the signature', (t) => {
  for (const item of SUITE) {
    if (EXPECTED.get(item.name)?.verdict !== 'accepted') continue
    const request = onXksPath(item)
    const rawHeaders = request.rawHeaders.map((text) =>
      text.startsWith('AWS4-') ? text.replace(/.$/, (c) => (c === '0' ? '1' : '0')) : text,
    )
    t.equal(verdictOn(item, { ...request, rawHeaders }), 'SIGNATURE_MISMATCH', item.name)
  }
  t.end()
})
