/** Tests when the next host of a PostgreSQL address is tried, using a timer that the test controls. */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { readFileSync } from 'node:fs'
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { dial } from '../../../src/store/postgres/dial.ts'

const DOCUMENT = readFileSync('docs/store.md', 'utf8').replaceAll(/\s+/g, ' ')
const STAGGER_MS = Number(/or has been silent for (\d+) ms/.exec(DOCUMENT)?.[1])
/** Number of event loop turns to wait: several times as many as a connection on loopback takes. */
const TURNS = 50

/** @param onConnection handles each connection; by default, the host stays silent */
async function listen(
  t: Test,
  host: string,
  port = 0,
  onConnection: (socket: Socket) => void = () => undefined,
): Promise<Server> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    onConnection(socket)
  })
  server.listen(port, host)
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return server
}

/** Listens on the same port of two hosts, and dials an address that names both. */
async function setUp(t: Test, onFirst?: (socket: Socket) => void) {
  const first = await listen(t, '127.0.0.1', 0, onFirst)
  const { port } = first.address() as AddressInfo
  const second = await listen(t, '127.0.0.2', port)
  let isTried = false
  const tried = once(second, 'connection').then(() => {
    isTried = true
  })
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => {
    mock.timers.reset()
  })
  const dialling = dial({
    loadTarget: () =>
      Promise.resolve({ host: '127.0.0.1,127.0.0.2', port, database: 'd', user: 'u' }),
    deadlineMs: 60_000,
    settings: {},
  })
  dialling.ready.catch(() => undefined)
  t.teardown(() => {
    dialling.abort()
  })
  return { first, tried, isTried: () => isTried }
}

void t.test('a silent host delays the next one, for as long as the document says', async (t) => {
  const { first, tried, isTried } = await setUp(t)
  await once(first, 'connection')
  mock.timers.tick(STAGGER_MS - 1)
  for (let i = 0; i < TURNS; i++) await new Promise((resolve) => setImmediate(resolve))
  t.notOk(isTried())
  mock.timers.tick(1)
  await tried
  t.ok(isTried())
})

void t.test('a host that fails does not delay the next one', async (t) => {
  const { tried, isTried } = await setUp(t, (socket) => socket.destroy())
  await tried
  t.ok(isTried())
})
