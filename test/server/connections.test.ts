/** Tests that a connection closes after its maximum number of requests, and that no request is lost. */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import t from 'tap'
import { askHttp2, openHttp2 } from '../support/http2.ts'
import { startTestServer, type TestServer } from '../support/server.ts'
import { openWire, requestMetadata, signedRequest } from '../support/wire.ts'

const SHARE = 8
const listener = { maxRequestsPerConnection: SHARE }
const body = JSON.stringify({ requestMetadata: requestMetadata('KmsHealthCheck') })
const health = (server: TestServer) => signedRequest(server, '/health', body)

/** Returns how many requests a connection accepts before it closes. */
async function countRequests(server: TestServer): Promise<number> {
  const wire = await openWire(server)
  for (let count = 1; ; count++) {
    wire.write(health(server))
    const answer = await wire.answer()
    if (answer?.status !== 200) throw new Error('the connection was closed without saying so')
    if (answer.headers.get('connection') !== 'close') continue
    await wire.closed()
    return count
  }
}

void t.test('HTTP/1.1: the last response announces the close', async (t) => {
  const server = await startTestServer(t, { config: { listener } })
  const counts = await Promise.all(Array.from({ length: 30 }, () => countRequests(server)))
  t.ok(counts.every((count) => count >= SHARE * 0.75 && count <= SHARE * 1.25))
  t.ok(new Set(counts).size > 1, 'not all after the same number')
})

void t.test('pipelined requests are all answered before the end', async (t) => {
  const server = await startTestServer(t, { config: { listener } })
  const wire = await openWire(server)
  const COUNT = 3 * SHARE
  wire.write(Buffer.concat(Array.from({ length: COUNT }, () => health(server))))
  const statuses: unknown[] = []
  for (let i = 0; i < COUNT; i++) statuses.push((await wire.answer())?.status)
  t.same(statuses, Array(COUNT).fill(200))
  await wire.closed()
})

void t.test('0 means unlimited', async (t) => {
  const server = await startTestServer(t, { config: { listener: { maxRequestsPerConnection: 0 } } })
  const wire = await openWire(server)
  for (let i = 0; i < 200; i++) wire.write(health(server))
  for (let i = 0; i < 200; i++)
    t.equal((await wire.answer())?.headers.get('connection'), 'keep-alive')
  wire.destroy()
})

void t.test(
  'HTTP/2: the session announces its end, and answers all accepted requests',
  async (t) => {
    const server = await startTestServer(t, { config: { listener } })
    const session = await openHttp2(t, server)
    const ended = Promise.all([once(session, 'goaway'), once(session, 'close')])
    let answered = 0
    while (!session.closed && answered < 2 * SHARE) {
      t.equal(await askHttp2(session, server, '/health', body), 200)
      answered += 1
    }
    t.ok(answered >= SHARE * 0.75 && answered <= SHARE * 1.25 + 1, String(answered))
    await ended
  },
)
