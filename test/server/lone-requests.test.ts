/**
 * Tests that a lone caller always gets a response, even alongside incomplete requests, with a slow body, or after the
 * process was paused.
 */
// SPDX-License-Identifier: Apache-2.0
import type { ClientHttp2Session } from 'node:http2'
import { setTimeout as wait } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openHttp2, toHttp2Headers } from '../support/http2.ts'
import { KEY_ID, startTestServer, type TestServer } from '../support/server.ts'
import {
  encryptBody,
  openWire,
  requestMetadata,
  signedRequest,
  type Wire,
} from '../support/wire.ts'

/**
 * Ten times the default request deadline, so that a busy machine does not affect the result. All other times are scaled
 * accordingly.
 */
const DEADLINE_MS = 2000
/** This pause is longer than a request may wait in a queue, which is two fifths of the deadline. */
const PAUSE_MS = 900

const ENCRYPT = `/keys/${KEY_ID}/encrypt`
const BODIES: Readonly<Record<string, string>> = {
  [ENCRYPT]: JSON.stringify(encryptBody()),
  '/health': JSON.stringify({ requestMetadata: requestMetadata('KmsHealthCheck') }),
}

/** A protocol over which requests can be sent. `post` and `ping` resolve to the response's status. */
interface Door {
  readonly name: string
  post(path: string, bodyAfterMs?: number): Promise<number>
  ping(): Promise<number>
  /** Sends an unsigned request head that announces a body, but omits the body. */
  sendHalf(): void
}

async function openDoors(t: Test, server: TestServer): Promise<readonly Door[]> {
  const wire = await openWire(server)
  const strangers: Wire[] = []
  t.teardown(() => {
    for (const one of [wire, ...strangers]) one.destroy()
  })
  const session = await openHttp2(t, server)
  return [http1(server, wire, strangers), http2(server, session)]
}

function http1(server: TestServer, wire: Wire, strangers: Wire[]): Door {
  const status = async () => (await wire.answer(30_000))?.status ?? 0
  return {
    name: 'HTTP/1.1',
    async post(path, bodyAfterMs = 0) {
      const bytes = signedRequest(server, path, BODIES[path] ?? '')
      const end = bytes.indexOf('\r\n\r\n') + 4
      wire.write(bytes.subarray(0, end))
      if (bodyAfterMs > 0) await wait(bodyAfterMs)
      wire.write(bytes.subarray(end))
      return status()
    },
    ping() {
      wire.write('GET /ping HTTP/1.1\r\nHost: localhost\r\n\r\n')
      return status()
    },
    sendHalf() {
      void openWire(server).then((stranger) => {
        strangers.push(stranger)
        stranger.write(`POST ${server.uriPath}/health HTTP/1.1\r\nHost: localhost\r\n`)
        stranger.write('Content-Type: application/json\r\nContent-Length: 10\r\n\r\n')
      })
    },
  }
}

function http2(server: TestServer, session: ClientHttp2Session): Door {
  const status = (stream: ReturnType<ClientHttp2Session['request']>) =>
    new Promise<number>((resolve, reject) => {
      stream.once('response', (headers) => {
        resolve(Number(headers[':status']))
      })
      stream.once('error', reject)
      stream.once('close', () => {
        reject(new Error('the stream was closed without an answer'))
      })
      stream.resume()
    })
  return {
    name: 'HTTP/2',
    async post(path, bodyAfterMs = 0) {
      const body = BODIES[path] ?? ''
      const stream = session.request(toHttp2Headers(server, path, body), { endStream: false })
      const answered = status(stream)
      if (bodyAfterMs > 0) await wait(bodyAfterMs)
      stream.end(body)
      return answered
    },
    ping: () => status(session.request({ ':path': '/ping' })),
    sendHalf() {
      const head = { ':method': 'POST', ':path': `${server.uriPath}/health`, 'content-length': 10 }
      const stream = session.request(head, { endStream: false })
      stream.on('error', () => undefined)
    },
  }
}

/** Sends every kind of request in sequence, and calls `before` before each request. */
async function askAll(t: Test, doors: readonly Door[], before: () => Promise<void>): Promise<void> {
  for (const door of doors) {
    for (const path of Object.keys(BODIES)) {
      await before()
      t.equal(await door.post(path), 200, `${door.name} ${path}`)
    }
    await before()
    t.equal(await door.ping(), 200, `${door.name} /ping`)
  }
}

async function start(t: Test) {
  const server = await startTestServer(t, {
    config: {
      limits: { requestDeadline: `${String(DEADLINE_MS)}ms` },
      // A process that stalls on a busy machine must keep its lease; otherwise it would close its connections.
      control: { lease: '5m' },
    },
  })
  const doors = await openDoors(t, server)
  // Warm up, because the first requests in a process take longer.
  await askAll(t, doors, () => Promise.resolve())
  return { server, doors }
}

async function shedLines(server: TestServer): Promise<readonly unknown[]> {
  const lines = await server.stopAndReadLog()
  return lines.filter(({ msg }) => String(msg).includes('too late to respond in time'))
}

void t.test('incomplete requests from a stranger cause no refusals', async (t) => {
  const { server, doors } = await start(t)
  await askAll(t, doors, async () => {
    for (const door of doors) door.sendHalf()
    await wait(PAUSE_MS)
  })
  t.same(await shedLines(server), [])
})

void t.test('a request whose body arrives late is answered', async (t) => {
  const { server, doors } = await start(t)
  for (const door of doors) {
    for (const path of Object.keys(BODIES))
      t.equal(await door.post(path, PAUSE_MS), 200, `${door.name} ${path}`)
  }
  t.same(await shedLines(server), [])
})

void t.test('a request that waited while the process was paused is answered', async (t) => {
  const { server, doors } = await start(t)
  const still = new Int32Array(new SharedArrayBuffer(4))
  for (const door of doors) {
    for (const ask of [() => door.post(ENCRYPT), () => door.post('/health'), () => door.ping()]) {
      const asked = ask()
      // After this turn, the request is in the kernel's buffers, but the event loop has not read it.
      await new Promise(setImmediate)
      Atomics.wait(still, 0, 0, PAUSE_MS)
      t.equal(await asked, 200, door.name)
    }
  }
  t.same(await shedLines(server), [])
})
