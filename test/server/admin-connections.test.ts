/** Tests request framing on the admin listener, and which connections it keeps alive. */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type http from 'node:http'
import type { AddressInfo } from 'node:net'
import { connect } from 'node:tls'
import t, { type Test } from 'tap'
import { createBareServer } from '../../src/admin/bare-server.ts'
import { call, pki, startWithAdmin, token } from '../support/admin.ts'
import { FakeClock } from '../support/fake-clock.ts'

const HOUR_MS = 3_600_000
const GET = 'GET /admin/v1/about HTTP/1.1\r\nHost: localhost\r\n'

/** Opens a TLS connection and collects everything the server sends. */
async function open(t: Test, port: number) {
  const socket = connect({
    host: '127.0.0.1',
    port,
    servername: 'localhost',
    ca: readFileSync(pki.caFile),
  })
  socket.on('error', () => undefined)
  t.teardown(() => socket.destroy())
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  await once(socket, 'secureConnect')
  return {
    closed,
    /** Sends a request and returns the next chunk of the response. */
    async ask(request: string): Promise<string> {
      text = ''
      socket.write(request)
      await Promise.race([once(socket, 'data'), closed])
      return text
    },
  }
}

async function startBare(t: Test, handler: http.RequestListener) {
  const clock = new FakeClock()
  const refused: string[] = []
  const bare = createBareServer({
    ...{ clock, requestCert: false, maxConnections: 3 },
    tls: { cert: readFileSync(pki.certificateFile), key: readFileSync(pki.privateKeyFile) },
    handler(request, response) {
      if (request.headers.authorization !== undefined) bare.prove(request.socket)
      handler(request, response)
    },
    onRefused: (reason) => refused.push(reason),
  })
  bare.server.listen(0, '127.0.0.1')
  await once(bare.server, 'listening')
  t.teardown(() => {
    bare.server.close()
    bare.server.closeAllConnections()
  })
  const { port } = bare.server.address() as AddressInfo
  return { clock, refused, port }
}

void t.test('idle strangers do not keep operators out', async (t) => {
  const { port, refused } = await startBare(t, (_request, response) => response.end('ok'))
  const strangers = [await open(t, port), await open(t, port), await open(t, port)]
  for (const one of strangers) t.match(await one.ask(`${GET}\r\n`), / 200 /)
  const operator = await open(t, port)
  await strangers[0]?.closed
  t.match(await operator.ask(`${GET}Authorization: x\r\n\r\n`), / 200 /)
  for (let i = 0; i < 10; i++) t.match(await (await open(t, port)).ask(`${GET}\r\n`), / 200 /)
  await Promise.all(strangers.map(({ closed }) => closed))
  t.match(await operator.ask(`${GET}\r\n`), / 200 /, 'who has identified himself stays')
  t.same(refused, Array(11).fill('CONNECTIONS_FULL'))
})

void t.test('a connection closes after a response once it is an hour old', async (t) => {
  const { clock, port } = await startBare(t, (_request, response) => response.end('ok'))
  const kept = await open(t, port)
  clock.advance(HOUR_MS - 1)
  t.match(await kept.ask(`${GET}\r\n`), /connection: keep-alive/i)
  clock.advance(1)
  t.match(await kept.ask(`${GET}\r\n`), /connection: close/i)
  await kept.closed
})

void t.test('probes do not keep a connection alive', async (t) => {
  const server = await startWithAdmin(t)
  for (const path of ['/livez', '/readyz']) {
    const one = await open(t, server.running.admin?.port ?? 0)
    const answer = await one.ask(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
    t.match(answer, /^HTTP\/1.1 200 [^]*connection: close/i, path)
    await one.closed
  }
})

void t.test('the only transfer coding is chunked, and only over HTTP/1.1', async (t) => {
  const server = await startWithAdmin(t)
  const port = server.running.admin?.port ?? 0
  const post = (version: string, coding: string) =>
    `POST /admin/v1/rehearsals HTTP/${version}\r\nHost: localhost\r\nConnection: keep-alive\r\n` +
    `Authorization: Bearer ${token('admin')}\r\nContent-Type: application/json\r\n` +
    `Transfer-Encoding: ${coding}\r\n\r\n18\r\n{"scope":{"kind":"all"}}\r\n0\r\n\r\n`
  t.match(await (await open(t, port)).ask(post('1.1', 'chunked')), / 200 /)
  for (const [version, coding] of [
    ['1.1', 'gzip, chunked'],
    ['1.1', 'x, chunked'],
    ['1.0', 'chunked'],
  ] as const) {
    const one = await open(t, port)
    const answer = await one.ask(post(version, coding))
    t.match(answer, /^HTTP\/1.1 400 [^]*connection: close[^]*INPUT_INVALID/i, coding)
    await one.closed
  }
})

void t.test('CONNECT is refused, and logged', async (t) => {
  const server = await startWithAdmin(t)
  const one = await open(t, server.running.admin?.port ?? 0)
  const answer = await one.ask('CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n')
  t.match(answer, /^HTTP\/1.1 405 [^]*INPUT_INVALID/)
  await one.closed
  t.equal((await call(server, 'GET', '/livez')).status, 200)
  const lines = (await server.stopAndReadLog()).filter(({ reason }) => reason === 'CONNECT')
  t.match(lines, [{ msg: 'connection refused', listener: 'admin', remoteAddress: '127.0.0.1' }])
})
