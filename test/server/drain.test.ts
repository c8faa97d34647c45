/** Tests draining: in-flight requests complete, no new ones are accepted, and draining finishes in time. */
// SPDX-License-Identifier: Apache-2.0
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import t, { type Test } from 'tap'
import { handshake } from '../support/handshake.ts'
import { serveProgram } from '../support/program.ts'
import { KEY_ID, eventually, startTestServer, type TestServer } from '../support/server.ts'
import {
  encryptBody,
  openWire,
  requestMetadata,
  signedRequest,
  type Wire,
} from '../support/wire.ts'

/** The connection preface of RFC 9113, section 3.4. */
const PREFACE = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
const healthBody = { requestMetadata: requestMetadata('KmsHealthCheck') }
const health = (server: TestServer) => signedRequest(server, '/health', healthBody)
const encrypt = (server: TestServer) =>
  signedRequest(server, `/keys/${KEY_ID}/encrypt`, encryptBody())

/** Sends all but the last bytes of a request, and waits until the server has received the head. */
async function begin(server: TestServer): Promise<{ wire: Wire; finish: () => void }> {
  const wire = await openWire(server)
  const bytes = encrypt(server)
  wire.write(Buffer.concat([health(server), bytes.subarray(0, -10)]))
  await wire.answer()
  return {
    wire,
    finish: () => {
      wire.write(bytes.subarray(-10))
    },
  }
}

async function openTcp(t: Test, port: number): Promise<Socket> {
  const socket = connectTcp(port, '127.0.0.1')
  socket.on('error', () => undefined)
  t.teardown(() => {
    socket.destroy()
  })
  await once(socket, 'connect')
  return socket
}

/**
 * Sends an incomplete HTTP/2 request as raw bytes. Node's own client stops reading after a GOAWAY, so it never notices
 * that the connection has closed.
 */
async function openStream(t: Test, server: TestServer): Promise<TLSSocket> {
  const socket = connect({
    port: server.port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
    ALPNProtocols: ['h2'],
  })
  socket.on('error', () => undefined)
  t.teardown(() => {
    socket.destroy()
  })
  const settings = Buffer.from('000000040000000000', 'hex')
  // HPACK (RFC 7541) encoding of POST, https, the path / and a literal authority.
  const fields = Buffer.concat([Buffer.from('8387844109', 'hex'), Buffer.from('localhost')])
  const headers = Buffer.from('0000000104' + '00000001', 'hex')
  headers.writeUIntBE(fields.length, 0, 3)
  socket.write(Buffer.concat([Buffer.from(PREFACE), settings, headers, fields]))
  await once(socket, 'data')
  return socket
}

const isRefused = async (port: number) => {
  const result = await handshake(port, {})
  return !result.agreed && result.code === 'ECONNREFUSED'
}

void t.test('an in-flight request is answered, and its connection closed', async (t) => {
  const server = await startTestServer(t, { config: { listener: { drain: { timeout: '30s' } } } })
  const { port } = server
  const { wire, finish } = await begin(server)
  const stopping = server.stop()
  await eventually(() => isRefused(port))
  finish()
  const answer = await wire.answer()
  t.equal(answer?.status, 200)
  t.equal(answer?.headers.get('connection'), 'close')
  t.type(answer?.json['ciphertext'], 'string')
  await wire.closed()
  await stopping
})

void t.test('idle connections are closed at once', async (t) => {
  const server = await startTestServer(t, { config: { listener: { drain: { timeout: '30s' } } } })
  const used = await openWire(server)
  used.write(health(server))
  t.equal((await used.answer())?.status, 200)
  const { wire, finish } = await begin(server)
  const stopping = server.stop()
  await used.closed()
  finish()
  t.equal((await wire.answer())?.status, 200, 'while another is still served')
  await stopping
})

void t.test('/ping returns 503 during the delay, while requests are still served', async (t) => {
  const server = await startTestServer(t, {
    config: {
      listener: {
        drain: { delay: '10s', timeout: '60s' },
        ping: { host: '127.0.0.1', port: 0 },
      },
    },
  })
  const { port } = server
  const pingPort = server.running.ping?.port ?? 0
  const wire = await openWire(server)
  t.equal(await pingStatus(pingPort), 200)
  let isStopped = false
  const stopping = server.running.stop().then(() => {
    isStopped = true
  })
  await eventually(async () => (await pingStatus(pingPort)) === 503)
  wire.write('GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n')
  const ping = await wire.answer()
  t.equal(ping?.status, 503)
  t.same(ping?.json, { status: 'draining' })
  wire.write(health(server))
  t.equal((await wire.answer())?.status, 200)
  t.match(await handshake(port, {}), { agreed: true }, 'new connections still come in')
  t.equal(isStopped, false)
  await wire.closed()
  await stopping
  t.equal(await isRefused(port), true)
  t.equal(await pingStatus(pingPort), undefined, 'the plain port is closed last')
})

function pingStatus(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    http
      .get({ port, host: '127.0.0.1', path: '/ping', agent: false }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      .on('error', () => {
        resolve(undefined)
      })
  })
}

void t.test('a client that hangs is disconnected at the timeout', async (t) => {
  const server = await startTestServer(t, {
    config: {
      listener: {
        drain: { timeout: '500ms' },
        // These timeouts are long enough that no connection times out during the test.
        timeouts: { headers: '2m', request: '3m', tlsHandshake: '2m' },
      },
    },
  })
  const { wire } = await begin(server)
  const headers = await openWire(server)
  headers.write('POST /demo')
  const stream = await openStream(t, server)
  const streamClosed = once(stream, 'close')
  const silent = await openTcp(t, server.port)
  // A socket does not emit 'end' unless its data is read.
  silent.resume()
  const startedAt = performance.now()
  await server.running.stop()
  const tookMs = performance.now() - startedAt
  t.ok(tookMs >= 490, `${String(tookMs)} ms: not before the time is up`)
  t.ok(tookMs < 60_000, `${String(tookMs)} ms`)
  await Promise.all([wire.closed(), headers.closed(), streamClosed])
  if (!silent.closed) await once(silent, 'close')
})

void t.test('HTTP/2 sessions opened while draining are closed immediately', async (t) => {
  const server = await startTestServer(t, { config: { listener: { drain: { timeout: '30s' } } } })
  const { port } = server
  const tcp = await openTcp(t, port)
  const other = await begin(server)
  const stopping = server.running.stop()
  await eventually(() => isRefused(port))
  const session = http2.connect('https://localhost', {
    createConnection: () =>
      connect({ socket: tcp, rejectUnauthorized: false, ALPNProtocols: ['h2'] }),
  })
  session.on('error', () => undefined)
  const closed = once(session, 'close')
  await once(session, 'goaway')
  await closed
  other.finish()
  t.equal((await other.wire.answer())?.status, 200)
  await stopping
})

void t.test('stopping twice has no additional effect', async (t) => {
  const server = await startTestServer(t)
  const { port } = server
  await Promise.all([server.running.stop(), server.running.stop()])
  t.equal(await isRefused(port), true)
})

async function exit(child: ChildProcess): Promise<unknown[]> {
  return child.exitCode === null && child.signalCode === null
    ? once(child, 'close')
    : [child.exitCode, child.signalCode]
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  void t.test(`${signal} ends the process with 0 after the last log line`, async (t) => {
    const { server, child, running, lines } = await serveProgram(t, {
      listener: { drain: { timeout: '30s' } },
    })
    const { wire, finish } = await begin(server)
    child.kill(signal)
    await eventually(() => isRefused(server.port))
    finish()
    const answer = await wire.answer()
    t.equal(answer?.status, 200)
    t.equal(answer?.headers.get('connection'), 'close')
    t.same(await exit(child), [0, null])
    const [last] = lines().slice(-1)
    t.match(
      last,
      { msg: 'request', operation: 'Encrypt', status: 200 },
      'nothing is left unwritten',
    )
    t.equal(running.stderr(), '')
  })
}

void t.test('a second signal does not wait', async (t) => {
  const { server, child } = await serveProgram(t, {
    listener: { drain: { timeout: '5m' }, timeouts: { headers: '4m', request: '5m' } },
  })
  const { wire } = await begin(server)
  child.kill('SIGTERM')
  await eventually(() => isRefused(server.port))
  child.kill('SIGTERM')
  t.same(await exit(child), [1, null])
  await wire.closed()
})
