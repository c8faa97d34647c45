/** Floods the server with junk: legitimate callers are still served, and the sender is disconnected. */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import t, { type Test } from 'tap'
import { openHttp2 } from '../support/http2.ts'
import { KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import { encryptBody, openWire, signedRequest } from '../support/wire.ts'

const FLOODERS = 8
const ASKED = 40
const AGAIN_MS = 20
const ENCRYPT = `/keys/${KEY_ID}/encrypt`

/** Returns requests without a valid signature, large enough to fill the buffers. */
function junkOf(server: TestServer): Readonly<Record<string, Buffer>> {
  const repeat = (bytes: Buffer | string) =>
    Buffer.concat(Array.from({ length: 200 }, () => Buffer.from(bytes)))
  const wrong = { secretAccessKey: 'x'.repeat(44) }
  return {
    'no signature': repeat(`POST ${server.uriPath}/health HTTP/1.1\r\nHost: localhost\r\n\r\n`),
    'wrong signature': repeat(signedRequest(server, ENCRYPT, encryptBody(), wrong)),
    'unknown path': repeat('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n'),
  }
}

/**
 * Sends junk and reconnects after each disconnect, until the test ends.
 * @returns a function that returns the number of connections
 */
function flood(t: Test, server: TestServer, junk: Buffer): () => number {
  let connections = 0
  let isOver = false
  t.teardown(() => {
    isOver = true
  })
  const run = async () => {
    while (!isOver) {
      const wire = await openWire(server)
      connections += 1
      // once() would reject, because a reset connection emits an error before it closes.
      const closed = new Promise((resolve) => wire.socket.once('close', resolve))
      wire.write(junk)
      const again = setInterval(() => {
        wire.write(junk)
      }, AGAIN_MS)
      await closed
      clearInterval(again)
    }
  }
  run().catch(() => undefined)
  return () => connections
}

for (const name of ['no signature', 'wrong signature', 'unknown path']) {
  void t.test(`eight connections with ${name}: every valid request is served`, async (t) => {
    // The machine runs both the client and the server, and may be busy. The long deadline and lease keep its load from
    // affecting which requests are refused.
    const server = await startTestServer(t, {
      config: { limits: { requestDeadline: '60s' }, control: { lease: '5m' } },
    })
    const wire = await openWire(server)
    t.teardown(() => {
      wire.destroy()
    })
    const ask = async () => {
      wire.write(signedRequest(server, ENCRYPT, encryptBody()))
      return (await wire.answer())?.status
    }
    t.equal(await ask(), 200)
    const junk = junkOf(server)[name] ?? Buffer.alloc(0)
    const counts = Array.from({ length: FLOODERS }, () => flood(t, server, junk))
    const statuses = new Map<number | undefined, number>()
    let asked = 0
    while (asked < ASKED || counts.some((count) => count() < 2)) {
      const status = await ask()
      asked += 1
      statuses.set(status, (statuses.get(status) ?? 0) + 1)
    }
    t.same([...statuses], [[200, asked]])
    const lines = (await server.stopAndReadLog()).filter(({ msg }) => msg === 'connection refused')
    t.ok(lines.some(({ reason }) => reason === 'UNSIGNED_REQUESTS'))
  })
}

void t.test(
  'a connection is closed after a hundred requests without a valid signature',
  async (t) => {
    const server = await startTestServer(t)
    const wire = await openWire(server)
    const request = `POST ${server.uriPath}/health HTTP/1.1\r\nHost: localhost\r\n\r\n`
    for (let i = 1; i <= 100; i++) {
      wire.write(request)
      const answer = await wire.answer()
      t.equal(answer?.status, 401)
      t.equal(answer?.headers.get('connection'), i < 100 ? 'keep-alive' : 'close')
    }
    await wire.closed()
  },
)

void t.test(
  'on HTTP/2 the session is closed, and each stream is answered or refused',
  async (t) => {
    const server = await startTestServer(t)
    const session = await openHttp2(t, server)
    const goaway = once(session, 'goaway')
    const closed = once(session, 'close')
    const statuses = new Set<unknown>()
    for (let i = 0; i < 150 && !session.closed && !session.destroyed; i++) {
      const stream = session.request({ ':method': 'POST', ':path': `${server.uriPath}/health` })
      stream.on('error', () => undefined)
      stream.on('response', (headers) => statuses.add(headers[':status']))
      stream.resume()
      stream.end()
      await once(stream, 'close')
    }
    await goaway
    await closed
    t.same([...statuses], [401])
  },
)

void t.test('a valid signature resets the count', async (t) => {
  const server = await startTestServer(t)
  const wire = await openWire(server)
  const wrong = signedRequest(server, ENCRYPT, encryptBody(), { secretAccessKey: 'x'.repeat(44) })
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 60; i++) {
      wire.write(wrong)
      t.equal((await wire.answer())?.status, 401)
    }
    wire.write(signedRequest(server, ENCRYPT, encryptBody()))
    t.equal((await wire.answer())?.status, 200)
  }
  wire.destroy()
})
