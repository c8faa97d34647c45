/**
 * Tests responses that have passed the gate and wait for a peer that does not read: they must not be sent after the
 * gate has closed.
 */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import http2 from 'node:http2'
import Sqlite from 'better-sqlite3'
import t, { type Test } from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { KEY_ID, type TestServer, eventually, startTestServer } from '../support/server.ts'
import { encryptBody, signedHeaders } from '../support/wire.ts'

t.setTimeout(120_000)

/** The lease is long enough for a request to be answered on a busy machine. */
const BRIEF = { control: { lease: '3s' } }
const PATH = `/keys/${KEY_ID}/encrypt`

/**
 * Sends a request as a client that does not read the response body until `read` is called. The client has received the
 * head; the server still holds the body.
 */
async function askWithoutReading(t: Test, server: TestServer) {
  const session = http2.connect(`https://127.0.0.1:${String(server.port)}`, {
    ca: readFileSync(server.pki.caFile),
    servername: 'localhost',
    settings: { initialWindowSize: 0 },
  })
  session.on('error', () => undefined)
  t.teardown(() => {
    session.destroy()
  })
  await once(session, 'localSettings')
  const body = JSON.stringify(encryptBody())
  const headers: Record<string, string> = {
    ':method': 'POST',
    ':path': `${server.uriPath}${PATH}`,
  }
  for (const [name, value] of Object.entries(signedHeaders(server, { path: PATH, body }))) {
    headers[name.toLowerCase() === 'host' ? ':authority' : name.toLowerCase()] = value
  }
  const stream = session.request(headers)
  let received = 0
  stream.on('error', () => undefined)
  stream.on('data', (chunk: Buffer) => (received += chunk.length))
  stream.end(body)
  const [answer] = (await once(stream, 'response')) as [http2.IncomingHttpHeaders]
  t.equal(answer[':status'], 200, 'it was released')
  return {
    received: () => received,
    isCut: () => session.destroyed,
    read() {
      session.settings({ initialWindowSize: 65_535 })
    },
  }
}

void t.test('a peer that reads later gets the response if nothing was killed', async (t) => {
  const server = await startTestServer(t)
  const peer = await askWithoutReading(t, server)
  t.equal(peer.received(), 0)
  peer.read()
  await eventually(() => peer.received() > 0)
})

void t.test('a kill completes only once the waiting response has been cut off', async (t) => {
  const server = await startTestServer(t, { config: BRIEF })
  const control = await openKillSwitch(server.config)
  t.teardown(() => control.close())
  const peer = await askWithoutReading(t, server)
  const order = { scope: { kind: 'all' }, direction: 'both', reason: 'r', operator: 'o' } as const
  const { instances } = await control.wait(await control.kill(order))
  t.match(instances, [{ how: 'acknowledged' }])
  await eventually(peer.isCut)
  t.equal(peer.received(), 0)
})

void t.test(
  'an instance that cannot read its store cuts the response off when its lease ends',
  async (t) => {
    const server = await startTestServer(t, { config: BRIEF })
    const peer = await askWithoutReading(t, server)
    // Hold the store's lock, as a process suspended at the wrong moment would.
    const lock = new Sqlite((server.config.store as { readonly path: string }).path)
    t.teardown(() => lock.close())
    lock.exec('BEGIN EXCLUSIVE')
    await eventually(() => server.running.gateStats().reason === 'LEASE_EXPIRED')
    await eventually(peer.isCut)
    t.equal(peer.received(), 0)
    lock.exec('ROLLBACK')
    await eventually(() => server.running.gateStats().reason === undefined)
    t.equal(server.running.gateStats().lateAnswers, 0)
  },
)
