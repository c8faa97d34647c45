/** Tests the responses to load balancer health checks, on the TLS port and on a plain port that serves nothing else. */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import { unlink, writeFile } from 'node:fs/promises'
import Database from 'better-sqlite3'
import t, { type Test } from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import type { ManagerHealth } from '../../src/keys/key-backend.ts'
import { startPingServer } from '../../src/server/listen.ts'
import { createPing } from '../../src/server/ping.ts'
import { createApiSchemas } from '../../src/openapi/schemas.ts'
import { KILLED, KEY_ID, eventually, startTestServer, type TestServer } from '../support/server.ts'
import { exchange, signedRequest, encryptBody } from '../support/wire.ts'

interface Plain {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
}

function ask(port: number, path = '/ping', method = 'GET'): Promise<Plain> {
  return new Promise((resolve, reject) => {
    const request = http.request({ port, host: '127.0.0.1', path, method, agent: false })
    request.on('error', reject)
    request.on('response', (response) => {
      let body = ''
      response.setEncoding('latin1')
      response.on('data', (text: string) => {
        body += text
      })
      response.on('end', () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body })
      })
    })
    request.end()
  })
}

async function start(t: Test) {
  const server = await startTestServer(t, {
    config: {
      control: KILLED,
      listener: { ping: { host: '127.0.0.1', port: 0 } },
      health: { interval: '100ms' },
    },
  })
  const port = server.running.ping?.port ?? 0
  t.not(port, 0)
  return { server, port }
}

function get(server: TestServer, target: string, method = 'GET') {
  return exchange(server, `${method} ${target} HTTP/1.1\r\nHost: localhost\r\n\r\n`)
}

const OK = '{"status":"ok"}'
const UNAVAILABLE = '{"status":"unavailable"}'

void t.test('[LB-1] GET /ping is answered on both ports, without a signature', async (t) => {
  const { server, port } = await start(t)
  for (const target of ['/ping', '/ping?deep', '/ping?deep=1', '/ping?x=y']) {
    const tls = await get(server, target)
    t.equal(tls.status, 200, target)
    t.equal(tls.body, OK)
    t.equal(tls.headers.get('content-type'), 'application/json')
    const plain = await ask(port, target)
    t.match(plain, { status: 200, body: OK, headers: { 'content-type': 'application/json' } })
  }
})

void t.test('[LB-1] a /ping response reveals only the status', async (t) => {
  const { server, port } = await start(t)
  const plain = await ask(port)
  t.same(Object.keys(plain.headers).sort(), [
    'connection',
    'content-type',
    'date',
    'transfer-encoding',
  ])
  const tls = await get(server, '/ping')
  t.notOk(tls.headers.has('server'))
  t.notOk(tls.headers.has('x-powered-by'))
  t.same(tls.json, { status: 'ok' })
})

void t.test('[LB-1] HEAD is answered without a body on the plain port', async (t) => {
  const { port } = await start(t)
  t.match(await ask(port, '/ping', 'HEAD'), { status: 200, body: '' })
})

void t.test('[LB-1] nothing else is served on the plain port', async (t) => {
  const { server, port } = await start(t)
  const rows = [
    ['GET', '/'],
    ['GET', '/ping/'],
    ['GET', '/Ping'],
    ['GET', '//ping'],
    ['GET', '/ping%20'],
    ['GET', '/./ping'],
    ['POST', '/ping'],
    ['PUT', '/ping?deep'],
    ['DELETE', '/ping'],
    ['OPTIONS', '*'],
    ['POST', `${server.uriPath}/health`],
    ['POST', `${server.uriPath}/keys/${KEY_ID}/encrypt`],
    ['GET', `http://localhost${server.uriPath}/health`],
    ['GET', '/metrics'],
  ] as const
  for (const [method, path] of rows) {
    t.match(await ask(port, path, method), { status: 404, body: '' }, `${method} ${path}`)
  }
})

void t.test('[LB-1] a signed request is not served without TLS', async (t) => {
  const { server, port } = await start(t)
  const path = `/keys/${KEY_ID}/encrypt`
  const bytes = signedRequest(server, path, encryptBody())
  const signed = Object.fromEntries(
    bytes
      .toString('latin1')
      .split('\r\n\r\n')[0]
      ?.split('\r\n')
      .slice(1)
      .map((line) => line.split(': ', 2) as [string, string]) ?? [],
  )
  const answer = await new Promise<number | undefined>((resolve, reject) => {
    http
      .request({
        port,
        host: '127.0.0.1',
        path: `${server.uriPath}${path}`,
        method: 'POST',
        headers: signed,
        agent: false,
      })
      .on('response', (response) => {
        response.resume()
        resolve(response.statusCode)
      })
      .on('error', reject)
      .end(JSON.stringify(encryptBody()))
  })
  t.equal(answer, 404)
})

void t.test('[LB-1] other methods on /ping are not a ping on the TLS port', async (t) => {
  const { server } = await start(t)
  for (const method of ['POST', 'PUT', 'DELETE']) {
    const { status, json } = await get(server, '/ping', method)
    t.match({ status, ...json }, { status: 404, errorName: 'InvalidUriPathException' }, method)
  }
})

void t.test(
  '[LB-1] both return 503 if the store does not verify, because everything is refused',
  async (t) => {
    const { server, port } = await start(t)
    const status = async () => (await ask(port, '/ping')).status
    t.equal(await status(), 200)
    // Changing a row without updating its MAC invalidates the entire store.
    const tampering = new Database(server.config.store.path)
    tampering.exec(`UPDATE external_keys SET can_decrypt = 0 WHERE key_id = '${KEY_ID}'`)
    tampering.exec("UPDATE facts SET value = value + 1 WHERE name = 'epoch'")
    tampering.close()
    await eventually(async () => (await status()) === 503)
    for (const target of ['/ping', '/ping?deep']) {
      t.match(await ask(port, target), { status: 503, body: UNAVAILABLE })
      t.match(await get(server, target), { status: 503, body: UNAVAILABLE })
    }
  },
)

void t.test(
  '[LB-1] both return 503 without a lease or with the sentinel file, and 200 with a kill',
  async (t) => {
    const { server, port } = await start(t)
    const both = (status: number) => async () => {
      const answers = [await ask(port), await ask(port, '/ping?deep'), await get(server, '/ping')]
      return answers.every((one) => one.status === status)
    }
    const { sentinelFile } = server.config.control
    await writeFile(sentinelFile, '')
    await eventually(both(503))
    await unlink(sentinelFile)
    await eventually(both(200))
    const control = await openKillSwitch(server.config)
    t.teardown(() => control.close())
    const order = {
      scope: { kind: 'all' },
      direction: 'both',
      reason: 'a test',
      operator: 'tester',
    } as const
    await control.wait(await control.kill(order))
    t.equal(server.running.gateStats().reason, 'KILLED_ALL')
    t.ok(await both(200)(), 'a refusal is an answer, and has to reach KMS')
  },
)

async function startBare(
  t: Test,
  health: () => readonly (readonly ManagerHealth[])[],
  canServe = () => true,
) {
  const ping = createPing({ schemas: createApiSchemas(), health, canServe })
  const bound = await startPingServer(ping, { host: '127.0.0.1', port: 0 })
  t.teardown(() => bound.close())
  return { ping, port: bound.address.port }
}

const manager = (status: ManagerHealth['status']): ManagerHealth => ({
  id: 'm',
  model: 'm',
  status,
})

void t.test(
  '[LB-1] /ping returns 503 until the server is serving, and while it is draining',
  async (t) => {
    const { ping, port } = await startBare(t, () => [[manager('ACTIVE')]])
    for (const path of ['/ping', '/ping?deep']) {
      t.match(await ask(port, path), { status: 503, body: UNAVAILABLE })
    }
    ping.startServing()
    for (const path of ['/ping', '/ping?deep']) {
      t.match(await ask(port, path), { status: 200, body: OK })
    }
    ping.startDraining()
    for (const path of ['/ping', '/ping?deep']) {
      t.match(await ask(port, path), { status: 503, body: '{"status":"draining"}' })
    }
  },
)

void t.test('[LB-1] /ping returns 503 while the instance holds no lease', async (t) => {
  let isHeld = false
  const { ping, port } = await startBare(
    t,
    () => [[manager('ACTIVE')]],
    () => isHeld,
  )
  ping.startServing()
  for (const path of ['/ping', '/ping?deep']) {
    t.match(await ask(port, path), { status: 503, body: UNAVAILABLE })
  }
  isHeld = true
  for (const path of ['/ping', '/ping?deep']) {
    t.match(await ask(port, path), { status: 200, body: OK })
  }
})

void t.test('[LB-1] /ping?deep requires a usable key manager in each key store', async (t) => {
  let health: readonly (readonly ManagerHealth[])[] = []
  const { ping, port } = await startBare(t, () => health)
  ping.startServing()
  const [active, degraded, gone] = [manager('ACTIVE'), manager('DEGRADED'), manager('UNAVAILABLE')]
  const rows: readonly [typeof health, number][] = [
    [[[active]], 200],
    [[[degraded]], 200],
    [[[gone, active]], 200],
    [[[gone]], 503],
    [[[gone, gone]], 503],
    [[[active], [gone]], 503],
    [[[active], [degraded]], 200],
    [[[]], 503],
  ]
  for (const [now, status] of rows) {
    health = now
    t.equal((await ask(port, '/ping?deep')).status, status, JSON.stringify(now))
    t.equal((await ask(port)).status, 200)
  }
})
