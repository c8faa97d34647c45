/**
 * Tests size limits: sizes that the specification requires are served, and sizes above the configured limits are
 * refused.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import t from 'tap'
import { checkError, checkSuccess } from '../support/answers.ts'
import { KEY_ID, startTestServer } from '../support/server.ts'
import { openSession, type Session } from '../support/session.ts'
import { call, decryptBody, encryptBody, requestMetadata } from '../support/wire.ts'

const ENCRYPT = `/keys/${KEY_ID}/encrypt`
const DECRYPT = `/keys/${KEY_ID}/decrypt`
const METADATA = `/keys/${KEY_ID}/metadata`
const base64 = (length: number) => randomBytes(length).toString('base64')

/** Encrypts a plaintext and decrypts the result. */
async function roundTrip(session: Session, fields: { plaintext: string; aad?: string }) {
  const aad = fields.aad === undefined ? {} : { additionalAuthenticatedData: fields.aad }
  const body = encryptBody({ plaintext: fields.plaintext, ...aad })
  const encrypted = await session.call(ENCRYPT, body)
  const decrypted = await session.call(DECRYPT, decryptBody(encrypted.json, aad))
  return { encrypted, decrypted }
}

const tooLong = (field: string, ceiling: number) => ({
  message: `${field} is longer than the ${String(ceiling)} bytes that this proxy supports.`,
})

void t.test(
  '[API-2] each operation accepts ARNs of 2,048 characters and logs them completely',
  async (t) => {
    const server = await startTestServer(t)
    const session = await openSession(t, server)
    const prefix = 'arn:aws:kms:us-east-2:123456789012:/key/'
    const kmsKeyArn = prefix.padEnd(2048, 'k')
    const awsPrincipalArn = 'arn:aws:iam::123456789012:user/'.padEnd(2048, 'u')
    const metadata = requestMetadata('Encrypt', { kmsKeyArn, awsPrincipalArn })
    const more = { requestMetadata: metadata }
    const encrypted = await session.call(ENCRYPT, encryptBody(more))
    t.equal(encrypted.status, 200)
    t.equal((await session.call(DECRYPT, decryptBody(encrypted.json, more))).status, 200)
    t.equal((await session.call(METADATA, more)).status, 200)
    t.equal((await session.call('/health', more)).status, 200)
    const lines = await server.stopAndReadLog()
    const requests = lines.filter(({ msg }) => msg === 'request')
    t.equal(requests.length, 4)
    for (const line of requests) t.match(line, { kmsKeyArn, awsPrincipalArn, status: 200 })
  },
)

void t.test('[API-2] the longest fields, all in one request', async (t) => {
  const session = await openSession(t, await startTestServer(t))
  const long = 'x'.repeat(2048)
  const metadata = requestMetadata('Encrypt', {
    awsPrincipalArn: long,
    awsSourceVpc: long,
    awsSourceVpce: long,
    kmsKeyArn: long,
    kmsRequestId: long,
    kmsViaService: long,
  })
  const more = {
    requestMetadata: metadata,
    additionalAuthenticatedData: base64(8192),
    ciphertextDataIntegrityValueAlgorithm: 'SHA_256',
  }
  const encrypted = await session.call(ENCRYPT, encryptBody({ ...more, plaintext: base64(4300) }))
  t.equal(encrypted.status, 200)
  t.equal((await session.call(DECRYPT, decryptBody(encrypted.json, more))).status, 200)
})

void t.test(
  '[ENC-1] [DEC-1] plaintext and ciphertext may have 4,300 bytes, but not 4,301',
  async (t) => {
    const session = await openSession(t, await startTestServer(t))
    const plaintext = base64(4300)
    const { encrypted, decrypted } = await roundTrip(session, { plaintext })
    t.equal(encrypted.status, 200)
    t.same(checkSuccess(t, decrypted, ['plaintext']), { plaintext })
    const name = 'UnsupportedOperationException'
    const larger = await session.call(ENCRYPT, encryptBody({ plaintext: base64(4301) }))
    checkError(t, larger, name, tooLong('plaintext', 4300))
    const body = decryptBody(encrypted.json, { ciphertext: base64(4301) })
    checkError(t, await session.call(DECRYPT, body), name, tooLong('ciphertext', 4300))
  },
)

void t.test('[ENC-4] AAD may have 8,192 bytes, but not 8,193', async (t) => {
  const session = await openSession(t, await startTestServer(t))
  const plaintext = base64(32)
  const aad = base64(8192)
  const { encrypted, decrypted } = await roundTrip(session, { plaintext, aad })
  t.same(checkSuccess(t, decrypted, ['plaintext']), { plaintext })
  const other = decryptBody(encrypted.json, { additionalAuthenticatedData: base64(8192) })
  checkError(t, await session.call(DECRYPT, other), 'InvalidCiphertextException')
  const name = 'UnsupportedOperationException'
  const more = { additionalAuthenticatedData: base64(8193) }
  const message = tooLong('additionalAuthenticatedData', 8192)
  checkError(t, await session.call(ENCRYPT, encryptBody(more)), name, message)
  checkError(t, await session.call(DECRYPT, decryptBody(encrypted.json, more)), name, message)
})

void t.test(
  '[ENC-4] no AAD and empty AAD are the same; text that is not Base64 is neither',
  async (t) => {
    const session = await openSession(t, await startTestServer(t))
    const { json } = await session.call(ENCRYPT, encryptBody({ additionalAuthenticatedData: '' }))
    t.equal((await session.call(DECRYPT, decryptBody(json))).status, 200)
    const { json: other } = await session.call(ENCRYPT, encryptBody())
    const body = decryptBody(other, { additionalAuthenticatedData: '' })
    t.equal((await session.call(DECRYPT, body)).status, 200)
    const raw = encryptBody({ additionalAuthenticatedData: 'project=nile' })
    checkError(t, await session.call(ENCRYPT, raw), 'ValidationException')
  },
)

void t.test('[ENC-1] empty plaintext is encrypted: its tag authenticates the AAD', async (t) => {
  const session = await openSession(t, await startTestServer(t))
  const { encrypted, decrypted } = await roundTrip(session, { plaintext: '', aad: 'AAEC' })
  t.equal(encrypted.json['ciphertext'], '')
  t.same(checkSuccess(t, decrypted, ['plaintext']), { plaintext: '' })
  const other = decryptBody(encrypted.json, { additionalAuthenticatedData: 'AAED' })
  checkError(t, await session.call(DECRYPT, other), 'InvalidCiphertextException')
})

void t.test('[ENC-1] [ENC-4] [DEC-1] limits can be raised: AAD up to 65,535 bytes', async (t) => {
  const config = { limits: { maxPlaintextBytes: 100_000, maxAadBytes: 65_535 } }
  const session = await openSession(t, await startTestServer(t, { config }))
  const plaintext = base64(100_000)
  const aad = base64(65_535)
  const { decrypted } = await roundTrip(session, { plaintext, aad })
  t.same(checkSuccess(t, decrypted, ['plaintext']), { plaintext })
  const name = 'UnsupportedOperationException'
  const larger = await session.call(ENCRYPT, encryptBody({ plaintext: base64(100_001) }))
  checkError(t, larger, name, tooLong('plaintext', 100_000))
  const wider = encryptBody({ additionalAuthenticatedData: base64(65_536) })
  const message = tooLong('additionalAuthenticatedData', 65_535)
  checkError(t, await session.call(ENCRYPT, wider), name, message)
})

void t.test(
  'a body over the limits is refused before it is read, and its connection closed',
  async (t) => {
    const server = await startTestServer(t)
    for (const size of [60_000, 1_000_000]) {
      const answer = await call(server, ENCRYPT, encryptBody({ plaintext: 'A'.repeat(size) }))
      checkError(t, answer, 'UnsupportedOperationException', {
        message: 'The request body is larger than this proxy supports.',
      })
      t.equal(answer.headers.get('connection'), 'close')
    }
    const elsewhere = await call(server, '/nowhere', 'x'.repeat(60_000))
    checkError(t, elsewhere, 'InvalidUriPathException')
    const lines = await server.stopAndReadLog()
    const reasons = lines.filter(({ msg }) => msg === 'request').map(({ reason }) => reason)
    t.same(reasons, ['BODY_TOO_LARGE', 'BODY_TOO_LARGE', undefined])
  },
)

void t.test('a key id may have 128 characters; with 129, the path is unknown', async (t) => {
  const server = await startTestServer(t, { stopped: true })
  const longest = 'k'.repeat(128)
  const odd = '-._AZaz09'
  await server.createKey(longest)
  await server.createKey(odd)
  await server.start()
  const session = await openSession(t, server)
  for (const id of [longest, odd, KEY_ID]) {
    t.equal((await session.call(`/keys/${id}/encrypt`, encryptBody())).status, 200, id)
  }
  for (const length of [100, 101, 127]) {
    const answer = await session.call(`/keys/${'k'.repeat(length)}/encrypt`, encryptBody())
    checkError(t, answer, 'KeyNotFoundException')
  }
  for (const length of [129, 257, 4000]) {
    const answer = await session.call(`/keys/${'k'.repeat(length)}/encrypt`, encryptBody())
    checkError(t, answer, 'InvalidUriPathException')
  }
})
