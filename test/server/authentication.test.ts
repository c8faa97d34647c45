/** Tests SigV4 on the wire: no operation is served without a valid, recent signature. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { checkError } from '../support/answers.ts'
import { KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { openSession } from '../support/session.ts'
import {
  amzDate,
  call,
  decryptBody,
  encryptBody,
  exchange,
  requestBytes,
  requestMetadata,
  signedHeaders,
  type Answer,
  type Signing,
} from '../support/wire.ts'

type Json = Record<string, unknown>
type Headers = Readonly<Record<string, string>>

const ENCRYPT = `/keys/${KEY_ID}/encrypt`

/** Returns each operation with a body that the server accepts when signed. */
async function allOperations(server: TestServer): Promise<readonly (readonly [string, string])[]> {
  const { json } = await call(server, ENCRYPT, encryptBody())
  const bodies: readonly (readonly [string, Json])[] = [
    [`/keys/${KEY_ID}/metadata`, { requestMetadata: requestMetadata('DescribeKey') }],
    [ENCRYPT, encryptBody()],
    [`/keys/${KEY_ID}/decrypt`, decryptBody(json)],
    ['/health', { requestMetadata: requestMetadata('KmsHealthCheck') }],
  ]
  return bodies.map(([path, body]) => [path, JSON.stringify(body)] as const)
}

/** Signs a request, and lets `change` modify it afterwards. */
function send(
  server: TestServer,
  [path, body]: readonly [path: string, body: string],
  change: (headers: Headers) => Headers,
  signing: Signing = {},
): Promise<Answer> {
  const headers = change(signedHeaders(server, { ...signing, path, body }))
  return exchange(server, requestBytes({ target: `${server.uriPath}${path}`, headers }, body))
}

const without = (name: string) => (headers: Headers) =>
  Object.fromEntries(Object.entries(headers).filter(([other]) => other.toLowerCase() !== name))

const inAuthorization = (edit: (text: string) => string) => (headers: Headers) => ({
  ...headers,
  Authorization: edit(headers['Authorization'] ?? ''),
})

/** Changes the signature's last digit. */
const forge = inAuthorization(
  (text) => `${text.slice(0, -1)}${((parseInt(text.slice(-1), 16) + 1) % 16).toString(16)}`,
)

void t.test('[AUTH-1] no operation is served unsigned, or with a wrong signature', async (t) => {
  const server = await startTestServer(t)
  for (const operation of await allOperations(server)) {
    const [path] = operation
    t.equal((await send(server, operation, (headers) => headers)).status, 200, `${path}, signed`)
    for (const change of [without('authorization'), forge])
      checkError(t, await send(server, operation, change), 'AuthenticationFailedException')
  }
})

const hash = (text: string) => createHash('sha256').update(text).digest('hex')

/** Requests that must fail authentication, each with the reason expected in the log. */
const REFUSALS: readonly {
  readonly reason: string
  readonly change?: (headers: Headers) => Headers
  readonly signing?: (body: string) => Signing
}[] = [
  { reason: 'AUTHORIZATION_MISSING', change: without('authorization') },
  { reason: 'AUTHORIZATION_MALFORMED', change: inAuthorization(() => 'Basic QTpC') },
  {
    reason: 'AUTHORIZATION_MALFORMED',
    change: inAuthorization((text) => text.replace('AWS4-HMAC-SHA256', 'AWS4-ECDSA-P256-SHA256')),
  },
  { reason: 'SIGNATURE_MISMATCH', change: forge },
  { reason: 'SIGNATURE_MISMATCH', signing: () => ({ secretAccessKey: 'x'.repeat(43) }) },
  { reason: 'SIGNATURE_MISMATCH', change: (headers) => ({ ...headers, Host: 'localhost' }) },
  { reason: 'CREDENTIAL_UNKNOWN', signing: () => ({ accessKeyId: 'A'.repeat(26) }) },
  { reason: 'SCOPE_MISMATCH', signing: () => ({ region: 'eu-west-1' }) },
  { reason: 'SCOPE_MISMATCH', signing: () => ({ service: 'kms' }) },
  { reason: 'DATE_MALFORMED', change: without('x-amz-date') },
  {
    reason: 'HEADER_UNSIGNED',
    change: inAuthorization((text) => text.replace('host;x-amz-date', 'host')),
    signing: () => ({ leftUnsigned: ['content-type', 'content-length'] }),
  },
  {
    reason: 'HEADER_MISSING',
    change: without('x-extra'),
    signing: () => ({ headers: { 'X-Extra': 'signed, and taken away' } }),
  },
  {
    reason: 'TOKEN_REFUSED',
    signing: () => ({ headers: { 'X-Amz-Security-Token': 'a session token' } }),
  },
  {
    reason: 'BODY_HASH_MISMATCH',
    signing: () => ({ headers: { 'X-Amz-Content-Sha256': 'UNSIGNED-PAYLOAD' } }),
  },
  {
    reason: 'BODY_HASH_MISMATCH',
    signing: () => ({
      headers: { 'X-Amz-Content-Sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' },
    }),
  },
  {
    reason: 'BODY_HASH_MISMATCH',
    signing: (body) => ({ headers: { 'X-Amz-Content-Sha256': hash(`${body} `) } }),
  },
]

void t.test('[AUTH-1] every signature error gets the same response', async (t) => {
  const server = await startTestServer(t, {
    config: { keyStores: [{ name: 'demo', prefix: '/demo', regions: ['us-east-1'] }] },
  })
  const body = JSON.stringify(encryptBody())
  const bodies = new Set<string>()
  for (const { reason, change = (headers: Headers) => headers, signing } of REFUSALS) {
    const answer = await send(server, [ENCRYPT, body], change, signing?.(body))
    t.equal(answer.status, 401, reason)
    checkError(t, answer, 'AuthenticationFailedException')
    bodies.add(answer.body)
  }
  t.equal(bodies.size, 1)
  const lines = (await server.stopAndReadLog()).filter(({ status }) => status === 401)
  t.same(
    lines.map(({ reason }) => reason),
    REFUSALS.map(({ reason }) => reason),
  )
  for (const line of lines)
    t.match(line, { bodySha256: hash(body), unverifiedKmsRequestId: /^[0-9a-f-]{36}$/ })
})

void t.test('[AUTH-1] an unauthenticated caller learns nothing about keys or bodies', async (t) => {
  const server = await startTestServer(t)
  await server.createKey('impotent', { encrypt: false, decrypt: false })
  for (const [path, body] of [
    ['/keys/nobody/encrypt', JSON.stringify(encryptBody())],
    ['/keys/impotent/encrypt', JSON.stringify(encryptBody())],
    [ENCRYPT, '{'],
    [ENCRYPT, '{}'],
    [ENCRYPT, ''],
  ] as const)
    checkError(t, await send(server, [path, body], forge), 'AuthenticationFailedException')
})

void t.test('[AUTH-1] a presigned query is not a path in the API', async (t) => {
  const server = await startTestServer(t)
  const body = JSON.stringify(encryptBody())
  const headers = signedHeaders(server, { path: ENCRYPT, body })
  const query = '?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=00'
  const target = `${server.uriPath}${ENCRYPT}${query}`
  checkError(
    t,
    await exchange(server, requestBytes({ target, headers }, body)),
    'InvalidUriPathException',
  )
})

void t.test('[AUTH-4] unsigned headers may change on the way', async (t) => {
  const server = await startTestServer(t)
  const body = JSON.stringify(encryptBody())
  const signing = { leftUnsigned: ['content-type', 'x-trace'], headers: { 'X-Trace': 'before' } }
  const change = (headers: Headers) => ({
    ...headers,
    'Content-Type': 'application/json; charset=utf-8',
    'X-Trace': 'after',
    Via: '1.1 balancer',
  })
  t.equal((await send(server, [ENCRYPT, body], change, signing)).status, 200)
})

const MINUTE_MS = 60_000

/** Returns the status of a request that was signed `minutes` in the future, or in the past if negative. */
async function statusAt(t: Test, server: TestServer, minutes: number): Promise<number> {
  const session = await openSession(t, server)
  const at = Date.now() + minutes * MINUTE_MS
  return (await session.call(ENCRYPT, encryptBody(), { at })).status
}

void t.test('[AUTH-7] a date is recent if it is within five minutes either way', async (t) => {
  const server = await startTestServer(t)
  for (const minutes of [-4, 0, 4]) t.equal(await statusAt(t, server, minutes), 200)
  for (const minutes of [-6, 6, -60, 60, -1440, 1440])
    t.equal(await statusAt(t, server, minutes), 401, `${String(minutes)} minutes`)
  const lines = (await server.stopAndReadLog()).filter(({ status }) => status === 401)
  t.same(new Set(lines.map(({ reason }) => reason)), new Set(['DATE_SKEWED']))
})

void t.test('[AUTH-7] the time window is configurable', async (t) => {
  for (const [clockSkew, inside, outside] of [
    ['1m', 0.5, 2],
    ['30m', 28, 32],
  ] as const) {
    const server = await startTestServer(t, { config: { sigv4: { clockSkew } } })
    for (const sign of [1, -1]) {
      t.equal(await statusAt(t, server, sign * inside), 200, clockSkew)
      t.equal(await statusAt(t, server, sign * outside), 401, clockSkew)
    }
  }
})

void t.test('[AUTH-7] a recent date does not make an old signature valid', async (t) => {
  const server = await startTestServer(t)
  const body = JSON.stringify(encryptBody())
  const renewed = (headers: Headers) => ({ ...headers, 'X-Amz-Date': amzDate(Date.now()) })
  const old = { at: Date.now() - 10 * MINUTE_MS }
  checkError(t, await send(server, [ENCRYPT, body], renewed, old), 'AuthenticationFailedException')
})
