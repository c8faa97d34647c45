/**
 * Tests the client that calls the proxy as KMS does: what it reports about its connection, over HTTP/1.1 and HTTP/2.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { Secret } from '../../src/core/secret.ts'
import { openConnection, type Connection } from '../../src/kms/client/connection.ts'
import { dial, resolveHost } from '../../src/kms/client/dial.ts'
import { getHealthStatusBody } from '../../src/kms/client/requests.ts'
import { signHeaders, toAmzDate } from '../../src/kms/client/signing.ts'
import { eventually, REGION, startTestServer, type TestServer } from '../support/server.ts'

const PATIENCE_MS = 60_000

async function connectTo(t: Test, server: TestServer, alpn: readonly string[]) {
  const ca = await readFile(server.pki.caFile, 'utf8')
  const endpoint = { host: 'localhost', port: server.port, ca }
  const connection = await openConnection(endpoint, { timeoutMs: PATIENCE_MS, alpn })
  t.teardown(() => {
    connection.close()
  })
  return connection
}

function askHealth(server: TestServer, connection: Connection) {
  const target = `${server.uriPath}/health`
  const body = getHealthStatusBody()
  const host = `localhost:${String(server.port)}`
  const headers = signHeaders({ host, target, body }, { ...server.credential, region: REGION })
  return connection.exchange({ target, headers, body }, PATIENCE_MS)
}

for (const alpn of [['http/1.1'], ['h2', 'http/1.1'], []]) {
  void t.test(`several exchanges on one connection, offering ${alpn.join()}`, async (t) => {
    const server = await startTestServer(t)
    const connection = await connectTo(t, server, alpn)
    t.equal(connection.protocol, alpn[0] ?? 'http/1.1')
    const { dnsMs, connectMs, handshakeMs } = connection.phases
    t.ok(dnsMs >= 0 && connectMs > 0 && handshakeMs > 0, JSON.stringify(connection.phases))
    for (let i = 0; i < 3; i++) {
      const answer = await askHealth(server, connection)
      t.equal(answer.status, 200)
      t.match(answer.body, { xksProxyFleetSize: 1 })
      t.ok(answer.firstByteMs > 0 && answer.totalMs >= answer.firstByteMs)
    }
    t.ok(connection.isOpen())
    const lines = await server.stopAndReadLog()
    t.equal(lines.filter(({ msg }) => msg === 'request').length, 3)
  })
}

void t.test('HTTP/2 carries several concurrent exchanges', async (t) => {
  const server = await startTestServer(t)
  const connection = await connectTo(t, server, ['h2'])
  const answers = await Promise.all([1, 2, 3, 4].map(() => askHealth(server, connection)))
  t.same(
    answers.map(({ status }) => status),
    [200, 200, 200, 200],
  )
})

void t.test('an error names its phase', async (t) => {
  const server = await startTestServer(t)
  const at = (host: string, port: number) => dial({ host, port }, { timeoutMs: PATIENCE_MS })
  await t.rejects(at('no-such-host.invalid', 443), { code: 'ENDPOINT_NOT_FOUND' })
  await t.rejects(at('localhost', server.port), { code: 'ENDPOINT_TLS_FAILED' }, 'an unknown CA')
  const { port } = server
  const connection = await connectTo(t, server, ['http/1.1'])
  await server.stop()
  await t.rejects(at('localhost', port), { code: 'ENDPOINT_UNREACHABLE' })
  await t.rejects(
    connection.exchange({ target: '/', headers: { Host: 'localhost' }, body: '' }, PATIENCE_MS),
    { code: 'ENDPOINT_NO_ANSWER' },
  )
})

void t.test('a silent peer is abandoned', async (t) => {
  const silent = createServer((socket) => socket.on('error', () => undefined))
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  t.teardown(() => silent.close())
  const { port } = silent.address() as AddressInfo
  await t.rejects(dial({ host: 'localhost', port }, { timeoutMs: 3000 }), {
    code: 'ENDPOINT_TLS_FAILED',
    message: 'no response in time',
  })
})

void t.test('addresses are used as given', async (t) => {
  t.same(await resolveHost('127.0.0.1'), [{ address: '127.0.0.1', family: 4 }])
  t.same(await resolveHost('[::1]'), [{ address: '::1', family: 6 }])
})

void t.test('KMS signs host and x-amz-date, and the time may be given', (t) => {
  const headers = signHeaders(
    { host: 'xks.example.com', target: '/kms/xks/v1/health', body: '{}', at: 0 },
    { accessKeyId: 'A'.repeat(20), secretAccessKey: new Secret('s'), region: REGION },
  )
  t.match(headers['Authorization'], /, SignedHeaders=host;x-amz-date, Signature=[0-9a-f]{64}$/)
  t.equal(headers['X-Amz-Date'], '19700101T000000Z')
  t.equal(toAmzDate(0), '19700101T000000Z')
  t.equal(headers['Host'], 'xks.example.com')
  t.end()
})

void t.test(
  'an exchange on a connection closed by the server fails, and no other does',
  async (t) => {
    const timeouts = { keepAlive: '100ms' }
    const server = await startTestServer(t, { config: { listener: { timeouts } } })
    const connection = await connectTo(t, server, ['http/1.1'])
    t.equal((await askHealth(server, connection)).status, 200)
    await eventually(() => !connection.isOpen())
    await t.rejects(askHealth(server, connection), { code: 'ENDPOINT_NO_ANSWER' })
    const other = await connectTo(t, server, ['http/1.1'])
    const outcomes = await Promise.allSettled([1, 2, 3].map(() => askHealth(server, other)))
    t.equal(outcomes.length, 3, 'more at a time than HTTP/1.1 has room for is no crash either')
  },
)
