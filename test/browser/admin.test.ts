/**
 * Tests, in a real browser that has an operator's certificate, what the listener's own pages may do and what other
 * sites' pages may not.
 */
// SPDX-License-Identifier: Apache-2.0
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { parse } from 'yaml'
import { call, pki, startWithAdmin, token } from '../support/admin.ts'
import { startChromium } from '../support/chromium.ts'
import { read } from '../support/repository.ts'
import { eventually } from '../support/server.ts'

const STOP = JSON.stringify({ scope: { kind: 'all' }, reason: 'not meant' })
const alice = await pki.issue('alice-chromium', { commonName: 'alice', usage: 'client' })

/** Attacks from another site's page. Each script runs in that page; ADMIN is the admin listener's URL. */
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

/** Starts a listener, an attacker's site, and a browser page that has an operator's certificate for the listener. */
async function startAttack(t: Test) {
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
  return { server, admin, attacker, context, page }
}

void t.test("through a browser, only the listener's own pages can call it", async (t) => {
  const { server, admin, attacker, context, page } = await startAttack(t)
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

  // As a control, the listener's own page sends the same request, which shows that the browser does present the
  // certificate.
  await page.goto(`${admin}/console`)
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

interface Described {
  readonly tags?: readonly string[]
  readonly security?: readonly unknown[]
}

/** Returns the method and path of every admin operation, and whether it requires authentication. */
function adminOperations() {
  const { paths } = parse(read('openapi.yaml')) as {
    paths: Record<string, Record<string, Described>>
  }
  return Object.entries(paths).flatMap(([path, operations]) =>
    Object.entries(operations).flatMap(([method, { tags, security = [] }]) =>
      tags?.includes('Admin') === true
        ? [{ method: method.toUpperCase(), path, isGuarded: security.length > 0 }]
        : [],
    ),
  )
}

/** Converts an openapi.yaml path to the server's route syntax. The {file} parameter may contain slashes. */
const toRoute = (path: string) => path.replace(/\{file\}$/, '*').replaceAll(/\{(\w+)\}/g, ':$1')

/** Lists the console's static files, which contain no data. */
const FILES = ['/console', '/console/app.js', '/console/style.css', '/console/uplot.js']

void t.test("no route can be called, framed or read by another site's page", async (t) => {
  const { server, admin, attacker, context, page } = await startAttack(t)
  await page.goto(attacker)
  const operations = adminOperations()
  t.ok(operations.length > 25, `${String(operations.length)} operations`)
  const calls = [...operations, ...FILES.map((path) => ({ method: 'GET', path }))].map(
    ({ method, path }) => ({ method, path: path.replaceAll(/\{\w+\}/g, '0a') }),
  )
  // In no-cors mode, the browser sends the request but hides the response. In cors mode, the page could read a
  // response that CORS allowed.
  const outcomes = await page.evaluate<readonly string[]>(`Promise.all(
    ${JSON.stringify(calls)}.flatMap(({ method, path }) => ['no-cors', 'cors'].map((mode) =>
      fetch(${JSON.stringify(admin)} + path, { method, mode, credentials: 'include', ...(method === 'GET' ? {} : { body: '{}' }) })
        .then(({ type, status }) => mode + ' ' + type + ' ' + status, () => mode + ' refused'))))`)
  t.equal(outcomes.length, 2 * calls.length)
  const known = ['no-cors opaque 0', 'no-cors refused', 'cors refused']
  t.same(
    [...new Set(outcomes)].filter((one) => !known.includes(one)),
    [],
    'nothing can be read',
  )

  const loads = await page.evaluate<readonly string[]>(`Promise.all(
    ['/console/app.js', '/console/uplot.js'].map((path) => new Promise((resolve) => {
      const script = document.createElement('script')
      script.onload = () => resolve('loaded')
      script.onerror = () => resolve('refused')
      script.src = ${JSON.stringify(admin)} + path
      document.body.append(script)
    })))`)
  t.same(loads, ['refused', 'refused'], 'another site cannot load a script of the console')
  for (const path of ['/console', '/livez', '/admin/v1/status']) {
    await page.evaluate(`{
      const frame = document.createElement('iframe')
      frame.src = ${JSON.stringify(admin + path)}
      document.body.append(frame)
    }`)
  }
  await eventually(() => page.frames().length === 5)
  await page.waitForLoadState('networkidle')
  const texts = await Promise.all(
    page.frames().map((frame) => frame.evaluate<string>('document.body?.innerText ?? ""')),
  )
  t.notMatch(texts.join('\n'), /Latchkey|Sign in|"status"|"error"/, 'no frame shows anything')

  await context.close()
  const log = await server.stopAndReadLog()
  const refused = log.filter(({ msg, code }) => msg === 'admin request' && code === 'CROSS_SITE')
  const seen = new Set(refused.map(({ method, route }) => `${String(method)} ${String(route)}`))
  const guarded = operations.filter(({ isGuarded }) => isGuarded)
  const missing = guarded
    .map(({ method, path }) => `${method} ${toRoute(path)}`)
    .filter((one) => !seen.has(one))
  t.same(missing, [], 'each guarded route was reached, and refused the page')
})
