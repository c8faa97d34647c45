/** Tests that the admin listener rejects any request that another site's page can make an operator's browser send. */
// SPDX-License-Identifier: Apache-2.0
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { type Call, call, codeOf, pki, startWithAdmin, token } from '../support/admin.ts'
import type { TestServer } from '../support/server.ts'

const STOP = { scope: { kind: 'all' }, reason: 'not meant' }
const SWITCHES = '/admin/v1/switches'
/** The login endpoint requires no authentication, but must also reject calls from other sites' pages. */
const LOGIN = '/admin/v1/login/browser'
const alice = await pki.issue('alice-browser', { commonName: 'alice', usage: 'client' })

async function checkNothingStopped(t: Test, server: TestServer): Promise<void> {
  const status = await call(server, 'GET', '/admin/v1/status', { token: token('viewer') })
  t.same([status.status, status.body['switches']], [200, []])
}

void t.test('a request from another site is refused, whoever has logged in', async (t) => {
  const server = await startWithAdmin(t)
  const own = `https://localhost:${String(server.running.admin?.port)}`
  const foreign: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
    ['CROSS_SITE', { 'sec-fetch-site': 'cross-site' }],
    ['CROSS_SITE', { 'sec-fetch-site': 'same-site' }],
    ['CROSS_SITE', { 'sec-fetch-site': 'something-new' }],
    ['CROSS_SITE', { 'sec-fetch-site': '' }],
    ['CROSS_SITE', { origin: 'https://attacker.example' }],
    ['CROSS_SITE', { origin: 'null' }],
    ['CROSS_SITE', { origin: '' }],
    ['CROSS_SITE', { origin: own.replace('https', 'http') }],
    ['CROSS_SITE', { origin: 'https://localhost' }],
    ['CROSS_SITE', { origin: `${own}.attacker.example` }],
    ['CROSS_SITE', { origin: own, 'sec-fetch-site': 'cross-site' }],
    ['WRONG_HOST', { host: 'attacker.example' }],
    ['WRONG_HOST', { host: 'localhost.attacker.example' }],
    ['WRONG_HOST', { host: 'attacker.example@localhost' }],
    ['WRONG_HOST', { host: 'localhost/x' }],
  ]
  const callers: readonly Call[] = [{ certificate: alice }, { token: token('admin') }, {}]
  for (const [code, headers] of foreign) {
    for (const caller of callers) {
      for (const [method, path] of [
        ['POST', SWITCHES],
        ['POST', '/admin/v1/drills'],
        ['GET', '/admin/v1/status'],
        ['GET', '/metrics'],
        ['GET', LOGIN],
        ['POST', LOGIN],
      ] as const) {
        const body = path === SWITCHES ? { body: STOP } : {}
        const reply = await call(server, method, path, { ...caller, ...body, headers })
        t.equal(codeOf(reply), code, `${method} ${path} with ${JSON.stringify(headers)}`)
        t.equal(reply.status, code === 'CROSS_SITE' ? 403 : 421)
      }
    }
  }
  await checkNothingStopped(t, server)
  const log = await server.stopAndReadLog()
  t.ok(
    log.some(({ code, route }) => code === 'CROSS_SITE' && route === SWITCHES),
    'it is logged',
  )
})

void t.test('every POST must declare a JSON body', async (t) => {
  const server = await startWithAdmin(t)
  const types = [
    'text/plain',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
  ]
  types.push('application/jsonp', 'text/plain; application/json', 'application/json-patch+json', '')
  for (const path of [
    SWITCHES,
    LOGIN,
    '/admin/v1/drills',
    '/admin/v1/restorations/abcdef/approve',
  ]) {
    for (const type of types) {
      const headers = { 'content-type': type }
      const reply = await call(server, 'POST', path, {
        ...{ certificate: alice, headers },
        ...(path === SWITCHES && { body: STOP }),
      })
      t.same([reply.status, codeOf(reply)], [415, 'CONTENT_TYPE'], `${path} as ${type}`)
    }
  }
  await checkNothingStopped(t, server)
  const headers = { 'content-type': 'Application/JSON; charset=utf-8' }
  const reply = await call(server, 'POST', '/admin/v1/rehearsals', {
    ...{ certificate: alice, body: { scope: { kind: 'all' } }, headers },
  })
  t.equal(reply.status, 200, 'in any case, with a parameter')
})

void t.test(
  "the listener's own pages and names, and non-browser callers, are served",
  async (t) => {
    const server = await startWithAdmin(t)
    const port = String(server.running.admin?.port)
    for (const headers of [
      {},
      { 'sec-fetch-site': 'none' },
      {
        'sec-fetch-site': 'same-origin',
        origin: `https://localhost:${port}`,
        host: `localhost:${port}`,
      },
      { origin: 'https://localhost', host: 'LOCALHOST:443' },
      { host: `127.0.0.1:${port}` },
      { host: '[::1]:8444' },
      { host: '192.0.2.7' },
    ]) {
      const reply = await call(server, 'GET', '/admin/v1/status', { certificate: alice, headers })
      t.equal(reply.status, 200, JSON.stringify(headers))
    }
    const probe = await call(server, 'GET', '/livez', { headers: { host: 'pod.of.a.cluster' } })
    t.equal(probe.status, 200, 'a probe may call it as it likes')
  },
)

void t.test('additional host names come from the configuration', async (t) => {
  const server = await startWithAdmin(t, {}, { names: ['Latchkey.Example.com'] })
  const status = async (host: string) => {
    const headers = { host, origin: `https://${host}` }
    return (await call(server, 'GET', '/admin/v1/status', { certificate: alice, headers })).status
  }
  t.equal(await status('latchkey.example.com'), 200)
  t.equal(await status('other.example.com'), 421)
})

void t.test('a stalled TLS handshake is disconnected', async (t) => {
  const server = await startWithAdmin(t)
  const port = server.running.admin?.port ?? 0
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => {
    socket.destroy()
  })
  const since = performance.now()
  // Send only the start of a 200-byte ClientHello: the record header, the handshake header and the version.
  socket.write(Buffer.from('16030100c8010000c40303', 'hex'))
  await new Promise((resolve) => socket.on('error', resolve).on('close', resolve).resume())
  t.ok(performance.now() - since > 5000, 'not before its time')
})
