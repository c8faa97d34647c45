/** Tests the request timings in the log: stage by stage, starting with the first byte. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { askHttp2, openHttp2 } from '../support/http2.ts'
import { KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { openSession } from '../support/session.ts'
import {
  decryptBody,
  encryptBody,
  openWire,
  requestMetadata,
  signedRequest,
} from '../support/wire.ts'

type Line = Readonly<Record<string, unknown>>

const ROUNDS = 100
const HEAD_BYTES = 30

const stagesOf = (line: Line) => line['stagesMs'] as Readonly<Record<string, number>>
const sumOf = (line: Line) => Object.values(stagesOf(line)).reduce((sum, ms) => sum + ms, 0)

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? NaN
}

async function requestLines(server: TestServer): Promise<readonly Line[]> {
  return (await server.stopAndReadLog()).filter((line) => line['msg'] === 'request')
}

void t.test('the stages add up to the total, for successes and refusals', async (t) => {
  const server = await startTestServer(t)
  const session = await openSession(t, server)
  const metadata = { requestMetadata: requestMetadata('Test') }
  const cdiv = { ciphertextDataIntegrityValueAlgorithm: 'SHA_256' }
  for (let i = 0; i < ROUNDS; i++) {
    const sealed = await session.call(`/keys/${KEY_ID}/encrypt`, encryptBody(cdiv))
    const broken = { ...sealed.json, authenticationTag: Buffer.alloc(16).toString('base64') }
    for (const [path, body] of [
      [`/keys/${KEY_ID}/decrypt`, decryptBody(sealed.json)],
      [`/keys/${KEY_ID}/decrypt`, decryptBody(broken)],
      [`/keys/${KEY_ID}/metadata`, metadata],
      ['/keys/none/metadata', metadata],
      ['/health', metadata],
    ] as const)
      await session.call(path, body)
  }
  const lines = await requestLines(server)
  t.equal(lines.length, 6 * ROUNDS)
  const shares = lines.map((line) => sumOf(line) / Number(line['totalMs']))
  t.ok(Math.abs(median(shares) - 1) <= 0.02, `median ${String(median(shares))}`)
  for (const operation of ['Encrypt', 'Decrypt', 'GetKeyMetadata', 'GetHealthStatus']) {
    const own = lines.flatMap((line, i) => (line['operation'] === operation ? [shares[i]] : []))
    t.ok(Math.abs(median(own as number[]) - 1) <= 0.02, operation)
  }
  const [encrypt, decrypt, broken, describe, missing, health] = lines.slice(-6).map(stagesOf)
  const all = ['read', 'auth', 'decode', 'key', 'backend', 'verify', 'encode']
  for (const stage of all) t.ok((encrypt?.[stage] ?? 0) > 0, `${stage} of Encrypt`)
  t.ok((decrypt?.['backend'] ?? 0) > 0)
  t.equal(decrypt?.['verify'], undefined)
  t.ok((broken?.['backend'] ?? 0) > 0, 'a wrong tag took its time in the backend')
  t.equal(describe?.['backend'], undefined)
  t.ok((missing?.['key'] ?? 0) > 0, 'a missing key took its time in the look-up')
  t.equal(health?.['key'], undefined)
})

void t.test('the handshake is on the first line of its connection', async (t) => {
  const server = await startTestServer(t)
  const session = await openSession(t, server)
  const body = { requestMetadata: requestMetadata('Test') }
  for (let i = 0; i < 2; i++) await session.call('/health', body)
  const http2 = await openHttp2(t, server)
  for (let i = 0; i < 2; i++) await askHttp2(http2, server, '/health', JSON.stringify(body))
  const lines = await requestLines(server)
  t.ok(Number(lines[0]?.['tlsMs']) > 0)
  t.equal(lines[1]?.['tlsMs'], undefined)
  t.ok(Number(lines[2]?.['tlsMs']) > 0)
  t.equal(lines[3]?.['tlsMs'], undefined)
})

/** The delay is longer than the test requires, because a busy server may read the first byte a little late. */
const WAIT_MS = 2000

void t.test(
  'time counts from the first byte: a request that trickles in is refused as late',
  async (t) => {
    const server = await startTestServer(t, { config: { limits: { requestDeadline: '200ms' } } })
    const bytes = signedRequest(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
    for (const cut of [1, HEAD_BYTES, -10]) {
      const wire = await openWire(server)
      wire.write(bytes.subarray(0, cut))
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS))
      wire.write(bytes.subarray(cut))
      t.match(await wire.answer(), { status: 429, json: { errorName: 'ThrottlingException' } })
      wire.destroy()
    }
    for (const line of await requestLines(server)) {
      t.match(line, { reason: 'LATE', status: 429, errorName: 'ThrottlingException' })
      t.ok((stagesOf(line)['read'] ?? 0) >= 399)
      t.ok(Number(line['totalMs']) >= 399, String(line['totalMs']))
    }
  },
)
