/** Tests that slow and idle clients are disconnected when their timeout expires. */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import http2 from 'node:http2'
import { connect as connectTcp } from 'node:net'
import { systemClock } from '../../src/core/clock.ts'
import t, { type Test } from 'tap'
import { createConnections } from '../../src/server/connection.ts'
import { createTlsServer } from '../../src/server/tls/server.ts'
import { loadTlsMaterial } from '../../src/server/tls/material.ts'
import { KEY_ID, eventually, startTestServer, type TestServer } from '../support/server.ts'
import {
  encryptBody,
  openWire,
  requestMetadata,
  signedRequest,
  type Wire,
} from '../support/wire.ts'

/** These timeouts are much longer than the limit under test, so that none of them closes the connection first. */
const LONG = { headers: '1m', request: '2m', keepAlive: '400s', tlsHandshake: '1m' }
/** The limit under test. It is long enough for a request to arrive in time on a busy machine. */
const SHORT_MS = 1500
const SHORT = '1500ms'
/** This maximum wait is generous, because Node.js checks only once a second and the machine may be busy. */
const LATEST_MS = 60_000
const STEP_MS = 100

const healthBody = { requestMetadata: requestMetadata('KmsHealthCheck') }

function start(t: Test, timeouts: Partial<typeof LONG>, listener: Record<string, unknown> = {}) {
  return startTestServer(t, {
    config: { listener: { timeouts: { ...LONG, ...timeouts }, ...listener } },
  })
}

/** Writes a byte from time to time while the connection is open. Slow progress must not extend the timeout. */
function trickle(t: Test, write: (byte: string) => void): void {
  const timer = setInterval(() => {
    write('a')
  }, STEP_MS)
  t.teardown(() => {
    clearInterval(timer)
  })
}

async function isServed(server: TestServer): Promise<boolean> {
  const asked = server.client().getHealthStatus()
  return asked.then(({ status }) => status === 200).catch(() => false)
}

/** Waits for the server's 408 response. */
async function expectTimeout(t: Test, wire: Wire, since: number): Promise<void> {
  const answer = await wire.answer(LATEST_MS)
  t.equal(answer?.status, 408)
  t.equal(answer?.headers.get('content-type'), 'application/json')
  t.equal(answer?.headers.get('connection'), 'close')
  t.same(answer?.json, {
    errorName: 'ValidationException',
    errorMessage: 'The request did not arrive in time.',
  })
  await wire.closed(LATEST_MS)
  t.ok(performance.now() - since >= SHORT_MS - 10, 'not before its time')
}

void t.test('headers that trickle in are cut off', async (t) => {
  const server = await start(t, { headers: SHORT })
  const wire = await openWire(server)
  const since = performance.now()
  wire.write(`POST ${server.uriPath}/health HTTP/1.1\r\nHost: localhost\r\nX-Slow: `)
  trickle(t, (byte) => {
    wire.write(byte)
  })
  await expectTimeout(t, wire, since)
  await eventually(() => isServed(server))
  const log = await server.stopAndReadLog()
  t.match(
    log.filter(({ msg }) => msg === 'connection refused'),
    [{ reason: 'ERR_HTTP_REQUEST_TIMEOUT', remoteAddress: '127.0.0.1' }],
  )
})

void t.test('a body that trickles in is cut off', async (t) => {
  const server = await start(t, { headers: '1s', request: SHORT })
  const wire = await openWire(server)
  const since = performance.now()
  const bytes = signedRequest(server, `/keys/${KEY_ID}/encrypt`, encryptBody())
  wire.write(bytes.subarray(0, -100))
  trickle(t, (byte) => {
    wire.write(byte)
  })
  await expectTimeout(t, wire, since)
  await eventually(() => isServed(server))
})

void t.test('a connection without any data is closed without an answer', async (t) => {
  const server = await start(t, { headers: SHORT })
  // Node.js reuses the parser for the next connection, which must not inherit this connection's state.
  const before = await openWire(server)
  before.write(signedRequest(server, '/health', healthBody))
  t.equal((await before.answer())?.status, 200)
  before.destroy()
  const wire = await openWire(server)
  const since = performance.now()
  t.equal(await wire.answer(LATEST_MS), undefined)
  await wire.closed(LATEST_MS)
  t.ok(performance.now() - since >= SHORT_MS - 10, 'not before its time')
  const lines = await server.stopAndReadLog()
  t.same(
    lines.filter(({ msg }) => msg === 'connection refused'),
    [],
  )
})

void t.test('an idle connection is closed after keepAlive without an answer', async (t) => {
  const server = await start(t, { keepAlive: SHORT })
  const wire = await openWire(server)
  for (let i = 0; i < 2; i++) {
    wire.write(signedRequest(server, '/health', healthBody))
    t.equal((await wire.answer())?.status, 200)
  }
  const since = performance.now()
  t.equal(await wire.answer(LATEST_MS), undefined)
  await wire.closed(LATEST_MS)
  t.ok(performance.now() - since >= SHORT_MS - 100, 'not before its time')
})

void t.test('a handshake that never comes is cut off', async (t) => {
  const server = await start(t, { tlsHandshake: SHORT })
  const since = performance.now()
  const silent = connectTcp(server.port, '127.0.0.1')
  const halfway = connectTcp(server.port, '127.0.0.1')
  // Send only the header of a TLS record that announces a ClientHello.
  halfway.write(Buffer.from('16030101ff010001fb0303', 'hex'))
  const received: Buffer[] = []
  for (const socket of [silent, halfway]) {
    socket.on('data', (bytes: Buffer) => received.push(bytes))
    socket.on('error', () => undefined)
    socket.setTimeout(LATEST_MS, () => {
      t.fail('it is still open')
      socket.destroy()
    })
  }
  await Promise.all([once(silent, 'close'), once(halfway, 'close')])
  t.ok(performance.now() - since >= SHORT_MS - 10, 'not before its time')
  t.equal(Buffer.concat(received).includes('HTTP'), false)
  const log = await server.stopAndReadLog()
  const line = { reason: 'ERR_TLS_HANDSHAKE_TIMEOUT', remoteAddress: '127.0.0.1' }
  t.match(
    log.filter(({ msg }) => msg === 'connection refused'),
    [line, line],
  )
})

async function openSession(t: Test, server: TestServer): Promise<http2.ClientHttp2Session> {
  const session = http2.connect(`https://127.0.0.1:${String(server.port)}`, {
    rejectUnauthorized: false,
  })
  session.on('error', () => undefined)
  t.teardown(() => {
    session.destroy()
  })
  await once(session, 'remoteSettings')
  return session
}

void t.test('on HTTP/2 a body that trickles in is cut off, and the connection stays', async (t) => {
  const server = await start(t, { headers: '1s', request: SHORT })
  const session = await openSession(t, server)
  const since = performance.now()
  const stream = session.request(
    { ':method': 'POST', ':path': `${server.uriPath}/health`, 'content-type': 'application/json' },
    { endStream: false },
  )
  stream.on('error', () => undefined)
  stream.resume()
  trickle(t, (byte) => {
    if (!stream.closed) stream.write(byte)
  })
  await once(stream, 'close', { signal: AbortSignal.timeout(LATEST_MS) })
  t.equal(stream.rstCode, http2.constants.NGHTTP2_CANCEL)
  t.ok(performance.now() - since >= SHORT_MS - 10, 'not before its time')
  t.equal(session.closed, false)
  const ping = session.request({ ':path': '/ping' })
  const [headers] = (await once(ping, 'response')) as [http2.IncomingHttpHeaders]
  t.equal(headers[':status'], 200)
  ping.resume()
  const log = await server.stopAndReadLog()
  t.equal(log.filter(({ level }) => Number(level) >= 50).length, 0, 'no fault is logged')
})

void t.test('on HTTP/2 an idle connection is closed after keepAlive', async (t) => {
  const server = await start(t, { keepAlive: SHORT })
  const session = await openSession(t, server)
  const since = performance.now()
  const [code] = (await once(session, 'goaway', {
    signal: AbortSignal.timeout(LATEST_MS),
  })) as [number]
  t.equal(code, http2.constants.NGHTTP2_NO_ERROR)
  t.ok(performance.now() - since >= SHORT_MS - 100, 'not before its time')
  if (!session.destroyed) await once(session, 'close')
})

void t.test('by default a connection outlives the 350 s of a Network Load Balancer', async (t) => {
  const server = await startTestServer(t, { stopped: true })
  const { timeouts } = server.config.listener
  t.same(timeouts, {
    headersMs: 5000,
    requestMs: 10_000,
    keepAliveMs: 400_000,
    tlsHandshakeMs: 10_000,
  })
  t.ok(timeouts.keepAliveMs > 350_000)
  const config = server.config.listener
  const connections = createConnections({
    ...{ clock: systemClock, maxRequests: 0, maxAgeMs: 0, onUntrusted: () => undefined },
  })
  t.teardown(connections.stop)
  const dual = createTlsServer({
    config,
    material: await loadTlsMaterial(config, Date.now()),
    handler: () => undefined,
    connections,
    onRefused: () => undefined,
    onHandshake: () => undefined,
    onConnect: () => undefined,
    onConnectStream: () => undefined,
    clock: systemClock,
  })
  t.match(dual.server, {
    keepAliveTimeout: 400_000,
    headersTimeout: 5000,
    requestTimeout: 10_000,
    maxConnections: 10_000,
  })
})

void t.test(
  'connections beyond maxConnections are refused if all have signed; closed ones make room',
  async (t) => {
    const server = await start(t, {}, { maxConnections: 3 })
    const open = [await openWire(server), await openWire(server), await openWire(server)]
    for (const wire of open) {
      wire.write(signedRequest(server, '/health', healthBody))
      t.equal((await wire.answer())?.status, 200)
    }
    await t.rejects(openWire(server), { code: 'ECONNRESET' })
    for (const wire of open) {
      wire.write(signedRequest(server, '/health', healthBody))
      t.equal((await wire.answer())?.status, 200)
    }
    open[0]?.destroy()
    await eventually(() =>
      openWire(server).then(
        (wire) => Boolean(wire.socket.destroy()),
        () => false,
      ),
    )
  },
)

void t.test(
  'idle strangers do not keep callers out: the longest-idle one makes room',
  async (t) => {
    const server = await start(t, {}, { maxConnections: 3 })
    const ping = 'GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n'
    const strangers = [await openWire(server), await openWire(server), await openWire(server)]
    // Use the connections in reverse order, so that the most recently opened one has been idle longest.
    for (const wire of strangers.toReversed()) {
      wire.write(ping)
      t.equal((await wire.answer())?.status, 200)
    }
    const [first, second, third] = strangers
    const caller = await openWire(server)
    await third?.closed()
    const ask = async () => {
      caller.write(signedRequest(server, '/health', healthBody))
      return (await caller.answer())?.status
    }
    t.equal(await ask(), 200)
    const crowd = []
    for (let i = 0; i < 10; i++) {
      const wire = await openWire(server)
      wire.write(ping)
      t.equal((await wire.answer())?.status, 200)
      crowd.push(wire)
    }
    await Promise.all([first?.closed(), second?.closed()])
    t.equal(await ask(), 200, 'a signature keeps a connection open')
    for (const wire of [caller, ...crowd]) wire.destroy()
    const refused = (await server.stopAndReadLog()).filter(
      ({ reason }) => reason === 'CONNECTIONS_FULL',
    )
    t.equal(refused.length, 11)
    t.match(refused[0], { msg: 'connection refused', remoteAddress: '127.0.0.1' })
  },
)
