/**
 * Tests HTTP/2 frame by frame: the server closes sessions with incomplete headers, and sessions that never send a
 * request.
 */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { openHttp2 } from '../support/http2.ts'
import { eventually, startTestServer, type TestServer } from '../support/server.ts'
import { openWire, type Wire } from '../support/wire.ts'

/** These timeouts are much longer than the limit under test, so that none of them closes the connection first. */
const LONG = { request: '2m', keepAlive: '400s', tlsHandshake: '1m' }
/** The limit under test. It is long enough for a request to arrive in time on a busy machine. */
const SHORT_MS = 1500
/** This maximum wait is generous, because the server checks only once a second and the machine may be busy. */
const LATEST_MS = 60_000
const STEP_MS = 100
const MAX_FRAMES = 5

function start(t: Test): Promise<TestServer> {
  return startTestServer(t, { config: { listener: { timeouts: { ...LONG, headers: '1500ms' } } } })
}

/** The connection preface and an empty SETTINGS frame. */
const PREFACE = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
])
/** Builds a HEADERS frame without END_HEADERS: only `:method: POST` on stream `id`. */
const startHeaders = (id: number) => Buffer.from([0, 0, 1, 1, 0, 0, 0, 0, id, 0x83])
/** Builds a CONTINUATION frame without END_HEADERS, with `:scheme: https`. */
const continueHeaders = (id: number) => Buffer.from([0, 0, 1, 9, 0, 0, 0, 0, id, 0x87])
/** Builds a HEADERS frame with END_HEADERS and END_STREAM: GET https, with a literal `:path: /ping`. */
const ping = (id: number) => {
  const path = Buffer.from([0x04, 5, ...Buffer.from('/ping')])
  const block = Buffer.concat([Buffer.from([0x82, 0x87]), path])
  return Buffer.concat([Buffer.from([0, 0, block.length, 1, 5, 0, 0, 0, id]), block])
}

async function openRawHttp2(t: Test, server: TestServer): Promise<Wire> {
  const wire = await openWire(server, { ALPNProtocols: ['h2'] })
  t.teardown(() => {
    wire.destroy()
  })
  wire.write(PREFACE)
  return wire
}

void t.test('on HTTP/2, incomplete headers are cut off', async (t) => {
  const server = await start(t)
  const first = await openRawHttp2(t, server)
  const since = performance.now()
  first.write(startHeaders(1))
  // Slow progress must not extend the timeout. Node.js itself closes a session only after more than MAX_FRAMES frames.
  let frames = 0
  const trickle = setInterval(() => {
    frames += 1
    if (frames < MAX_FRAMES) first.write(continueHeaders(1))
  }, STEP_MS)
  t.teardown(() => {
    clearInterval(trickle)
  })
  const second = await openRawHttp2(t, server)
  second.write(ping(1))
  second.write(startHeaders(3))
  const silent = await openWire(server, { ALPNProtocols: ['h2'] })
  const idle = await openRawHttp2(t, server)
  for (const wire of [first, second, silent, idle]) await wire.closed(LATEST_MS)
  t.ok(performance.now() - since >= SHORT_MS - 10, 'not before its time')
  await eventually(async () => {
    const answer = await server
      .client()
      .getHealthStatus()
      .catch(() => undefined)
    return answer?.status === 200
  })
  const lines = await server.stopAndReadLog()
  const refused = lines.filter(({ msg }) => msg === 'connection refused')
  t.match(refused, [
    { reason: 'ERR_HTTP_REQUEST_TIMEOUT', remoteAddress: '127.0.0.1' },
    { reason: 'ERR_HTTP_REQUEST_TIMEOUT', remoteAddress: '127.0.0.1' },
  ])
  t.equal(refused.length, 2, 'where nothing was asked, nothing is said')
})

void t.test('on HTTP/2, a session with a request is kept until keepAlive', async (t) => {
  const server = await start(t)
  const asked = await openHttp2(t, server)
  const stream = asked.request({ ':path': '/ping' })
  await once(stream, 'response')
  stream.resume()
  const silent = await openHttp2(t, server)
  await once(silent, 'close', { signal: AbortSignal.timeout(LATEST_MS) })
  t.equal(asked.closed, false, 'it is older than the one that was closed')
})
