/** Drives the console in a real browser, through the run-book for an emergency at night. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import type { Browser, Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { call, pki, startWithAdmin, token } from '../support/admin.ts'
import { checkAccessibility } from '../support/accessibility.ts'
import { startChromium } from '../support/chromium.ts'
import { KEY_ID, eventually, type TestServer } from '../support/server.ts'

const alice = await pki.issue('alice-console', { commonName: 'alice', usage: 'client' })
const READ = { token: token('viewer') }

/** Errors of all pages of a test. */
const faults: string[] = []

async function open(t: Test, browser: Browser, server: TestServer, how: 'certificate' | 'none') {
  const origin = `https://localhost:${String(server.running.admin?.port)}`
  const { certificateFile: certPath, privateKeyFile: keyPath } = alice
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    ...(how === 'certificate' && { clientCertificates: [{ origin, certPath, keyPath }] }),
  })
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  page.on('pageerror', (error) => faults.push(error.message))
  page.on('console', (message) => {
    // The browser reports every 401 as an error, and a refused sign-in is expected here.
    if (message.type() === 'error' && !message.text().includes('401')) faults.push(message.text())
  })
  t.teardown(() => context.close())
  await page.goto(`${origin}/console`)
  return page
}

async function signIn(page: Page, role: string): Promise<void> {
  await page.getByLabel('Token').fill(token(role))
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText(`${role}-token, ${role}`).waitFor()
}

const headline = (page: Page, text: RegExp) =>
  page.getByRole('status', { name: 'State' }).filter({ hasText: text }).waitFor()

void t.test('one stops, two restore, and a viewer only looks', async (t) => {
  const server = await startWithAdmin(t, {
    activity: { flushInterval: '100ms' },
    control: { restore: { people: 2 } },
  })
  const client = server.client()
  const encrypt = async () => (await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status
  t.equal(await encrypt(), 200)
  const browser = await startChromium(t)

  const viewer = await open(t, browser, server, 'none')
  await viewer.getByRole('heading', { name: 'Sign in' }).waitFor()
  await viewer.getByLabel('Token').fill('latchkey_wrong')
  await viewer.getByRole('button', { name: 'Sign in' }).click()
  await viewer.getByRole('alert').filter({ hasText: 'a known client certificate' }).waitFor()
  await checkAccessibility(t, viewer, 'a refused sign-in')
  await signIn(viewer, 'viewer')
  await headline(viewer, /Serving.*No switch is in force; 1 of 1 instance serving/s)
  t.notOk(await viewer.getByRole('button', { name: 'Unlock actions' }).isVisible())
  await viewer.getByRole('cell', { name: 'direct calls to KMS' }).waitFor()
  await checkAccessibility(t, viewer, 'a viewer')

  const operator = await open(t, browser, server, 'none')
  await signIn(operator, 'operator')
  t.notOk(await operator.getByRole('heading', { name: 'Stop' }).isVisible(), 'looks first')
  await operator.getByRole('button', { name: 'Unlock actions' }).click()
  const stop = operator.getByRole('button', { name: 'Stop now' })
  await operator.getByLabel('Reason, recorded').fill('contract ended')
  t.ok(await stop.isDisabled(), 'not before the rehearsal')
  await operator.getByRole('button', { name: 'Rehearse' }).click()
  await operator.getByText(/1 request of 1 would have been refused/).waitFor()
  await operator.getByLabel('Type demo to confirm').fill('dem')
  t.ok(await stop.isDisabled(), 'not before the name')
  t.equal(await encrypt(), 200)
  await operator.getByLabel('Type demo to confirm').fill('demo')
  await checkAccessibility(t, operator, 'rehearsed')
  await stop.click()
  const result = operator.locator('#stop h3, [role=alert]:not(:empty)')
  t.match(await result.first().innerText(), /Revoked after \d+ ms/)
  t.equal(await encrypt(), 400)
  await headline(operator, /Stopped.*1 switch in force: key store demo.*by operator-token/s)
  await headline(viewer, /Stopped/)
  await checkAccessibility(t, operator, 'stopped, with a receipt')
  const downloading = operator.waitForEvent('download')
  await operator.getByRole('link', { name: 'Download the receipt' }).click()
  const receipt = JSON.parse(readFileSync(await (await downloading).path(), 'utf8')) as object
  t.match(receipt, { statement: { reason: 'contract ended' }, signature: String })
  t.equal(await operator.getByRole('button', { name: 'Restore' }).count(), 0)

  const admin = await open(t, browser, server, 'certificate')
  await admin.getByText('alice, admin').waitFor()
  await admin.getByRole('button', { name: 'Unlock actions' }).click()
  await admin.getByRole('button', { name: 'Restore' }).click()
  const status = await call(server, 'GET', '/admin/v1/status', READ)
  const [{ id: switchId = '' } = {}] = status.body['switches'] as { id?: string }[]
  await admin.getByLabel(`Type ${switchId} to confirm`).fill(switchId)
  await admin.getByLabel('Reason, recorded permanently').last().fill('contract renewed')
  await admin.getByRole('button', { name: 'Restore now' }).click()
  await admin.getByRole('cell', { name: `lift ${switchId}` }).waitFor()
  t.equal(await encrypt(), 400, 'it waits for a second person')

  const second = await open(t, browser, server, 'none')
  await signIn(second, 'admin')
  await second.getByRole('button', { name: 'Unlock actions' }).click()
  await second.getByRole('button', { name: 'Approve' }).click()
  const asked = await call(server, 'GET', '/admin/v1/status', READ)
  const [{ id = '' } = {}] = asked.body['requests'] as { id?: string }[]
  await second.getByLabel(`Type ${id} to confirm`).fill(id)
  await checkAccessibility(t, second, 'an approval')
  await second.getByRole('button', { name: 'Approve now' }).click()
  await headline(second, /Serving/)
  // An instance applies the restoration at its next poll.
  await eventually(async () => (await encrypt()) === 200)
  t.same(faults, [], 'no page had an error')
})

void t.test('the files are small, and run nothing from elsewhere', async (t) => {
  const server = await startWithAdmin(t)
  let size = 0
  for (const path of ['/console', '/console/app.js', '/console/style.css']) {
    const { status, headers, body } = await call(server, 'GET', path)
    t.equal(status, 200)
    const policy = String(headers['content-security-policy'])
    t.match(policy, "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
    t.notMatch(policy, 'unsafe')
    t.equal(headers['referrer-policy'], 'no-referrer')
    t.notMatch(String(body['text']), /innerHTML|insertAdjacent|document\.write|localStorage|cookie/)
    size += String(body['text']).length
  }
  t.ok(size < 100_000, `${String(size)} bytes`)
})
