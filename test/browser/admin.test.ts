/**
 * Gives a real browser an operator's certificate, and tests what pages of other sites can do with
 * it and what the listener's own pages can.
 */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { call, pki, startWithAdmin, token } from '../support/admin.ts'
import { startChromium } from '../support/chromium.ts'

const STOP = JSON.stringify({ scope: { kind: 'all' }, reason: 'not meant' })
const alice = await pki.issue('alice-chromium', { commonName: 'alice', usage: 'client' })

/**
 * Attacks by a page of another site. Each runs in that page, with the address of the admin listener
 * as ADMIN.
 */
const ATTACKS: Readonly<Record<string, string>> = {
  'a form that posts JSON as text': `{
    const form = document.createElement('form')
    Object.assign(form, { method: 'POST', action: ADMIN + '/admin/v1/switches', enctype: 'text/plain', target: 'sink' })
    const field = document.createElement('input')
    field.name = ${JSON.stringify(`${STOP.slice(0, -1)},"x":"`)}
    field.value = '"}'
    form.append(field)
    document.body.append(form)
    form.submit()
  }`,
  'a form without a body': `{
    const form = document.createElement('form')
    Object.assign(form, { method: 'POST', action: ADMIN + '/admin/v1/drills', target: 'sink' })
    document.body.append(form)
    form.submit()
  }`,
  'fetch without CORS': `fetch(ADMIN + '/admin/v1/switches', {
    method: 'POST', mode: 'no-cors', credentials: 'include', body: ${JSON.stringify(STOP)},
  }).catch(() => undefined)`,
  'fetch without a type': `fetch(ADMIN + '/admin/v1/switches', {
    method: 'POST', mode: 'no-cors', credentials: 'include', body: new Blob([${JSON.stringify(STOP)}]),
  }).catch(() => undefined)`,
  'fetch with CORS': `fetch(ADMIN + '/admin/v1/switches', {
    method: 'POST', credentials: 'include', headers: { 'content-type': 'application/json' }, body: ${JSON.stringify(STOP)},
  }).catch(() => undefined)`,
  'a beacon': `navigator.sendBeacon(ADMIN + '/admin/v1/switches', ${JSON.stringify(STOP)})`,
  'an image': `new Image().src = ADMIN + '/admin/v1/status'`,
  'a script': `document.body.append(Object.assign(document.createElement('script'), { src: ADMIN + '/admin/v1/status' }))`,
  'a frame': `document.body.append(Object.assign(document.createElement('iframe'), { src: ADMIN + '/admin/v1/status' }))`,
}

async function startAttacker(t: Test): Promise<string> {
  const server = http.createServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'text/html' })
    response.end('<!doctype html><title>elsewhere</title><body><iframe name="sink"></iframe>')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${String((server.address() as AddressInfo).port)}/`
}

void t.test('only its own pages reach the admin listener through a browser', async (t) => {
  const server = await startWithAdmin(t)
  const admin = `https://localhost:${String(server.running.admin?.port)}`
  const attacker = await startAttacker(t)
  const browser = await startChromium(t)
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    clientCertificates: [
      { origin: admin, certPath: alice.certificateFile, keyPath: alice.privateKeyFile },
    ],
  })
  const page = await context.newPage()
  for (const [name, script] of Object.entries(ATTACKS)) {
    await page.goto(attacker)
    const answered = page.waitForEvent('requestfinished', {
      predicate: (request) => request.url().startsWith(admin),
      timeout: 60_000,
    })
    const failed = page.waitForEvent('requestfailed', {
      predicate: (request) => request.url().startsWith(admin),
      timeout: 60_000,
    })
    const over = Promise.any([answered, failed])
    await page.evaluate(`{ const ADMIN = ${JSON.stringify(admin)}; ${script} }`)
    await t.resolves(over, `${name} comes to an end`)
    for (const one of [answered, failed]) one.catch(() => undefined)
  }
  const status = await call(server, 'GET', '/admin/v1/status', { token: token('viewer') })
  t.same(status.body['switches'], [], 'none of them did anything')

  // The same browser on a page of the listener itself shows that it does hold the certificate.
  await page.goto(`${admin}/livez`)
  const own = await page.evaluate(`fetch('/admin/v1/switches', {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: ${JSON.stringify(STOP)},
  }).then((response) => response.status)`)
  t.equal(own, 200)
  const after = await call(server, 'GET', '/admin/v1/status', { token: token('viewer') })
  t.match(after.body, { switches: [{ operator: 'alice', reason: 'not meant' }] })

  await context.close()
  const log = await server.stopAndReadLog()
  const refused = log.filter(({ msg, code }) => msg === 'admin request' && code === 'CROSS_SITE')
  const routes = new Set(refused.map(({ method, route }) => `${String(method)} ${String(route)}`))
  t.same(
    [...routes].sort(),
    ['GET /admin/v1/status', 'POST /admin/v1/drills', 'POST /admin/v1/switches'],
    'Chromium did send them, and each was refused for where it came from',
  )
})
