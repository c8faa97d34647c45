/** Drives the console in a real browser, through the run-book for an emergency at night. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import t from 'tap'
import { call, startWithAdmin, token } from '../support/admin.ts'
import { checkAccessibility } from '../support/accessibility.ts'
import { startChromium } from '../support/chromium.ts'
import { openConsole, signIn, waitForHeadline } from '../support/console.ts'
import { KEY_ID, eventually } from '../support/server.ts'

const READ = { token: token('viewer') }

void t.test('one stops, two restore, and a viewer only looks', async (t) => {
  const server = await startWithAdmin(t, {
    activity: { flushInterval: '100ms' },
    control: { restore: { people: 2 } },
  })
  const client = server.client()
  const encrypt = async () => (await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status
  t.equal(await encrypt(), 200)
  const browser = await startChromium(t)

  const { page: viewer, faults: viewerFaults } = await openConsole(t, browser, server)
  await viewer.getByRole('heading', { name: 'Sign in' }).waitFor()
  await viewer.getByLabel('Token').fill('latchkey_wrong')
  await viewer.getByRole('button', { name: 'Sign in' }).click()
  await viewer.getByRole('alert').filter({ hasText: 'a known client certificate' }).waitFor()
  await checkAccessibility(t, viewer, 'a refused sign-in')
  await signIn(viewer, 'viewer')
  await waitForHeadline(viewer, /Serving.*No switch is in force; 1 of 1 instance serving/s)
  t.notOk(await viewer.getByRole('button', { name: 'Unlock actions' }).isVisible())
  await viewer.getByRole('cell', { name: 'direct calls to KMS' }).waitFor()
  await checkAccessibility(t, viewer, 'a viewer')

  const { page: operator, faults: operatorFaults } = await openConsole(t, browser, server)
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
  await waitForHeadline(operator, /Stopped.*1 switch in force: key store demo.*by operator-token/s)
  await waitForHeadline(viewer, /Stopped/)
  await checkAccessibility(t, operator, 'stopped, with a receipt')
  const downloading = operator.waitForEvent('download')
  await operator.getByRole('link', { name: 'Download the receipt' }).click()
  const receipt = JSON.parse(readFileSync(await (await downloading).path(), 'utf8')) as object
  t.match(receipt, { statement: { reason: 'contract ended' }, signature: String })
  t.equal(await operator.getByRole('button', { name: 'Restore' }).count(), 0)

  const { page: admin, faults: adminFaults } = await openConsole(t, browser, server, {
    certificate: true,
  })
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

  const { page: second, faults: secondFaults } = await openConsole(t, browser, server)
  await signIn(second, 'admin')
  await second.getByRole('button', { name: 'Unlock actions' }).click()
  await second.getByRole('button', { name: 'Approve' }).click()
  const asked = await call(server, 'GET', '/admin/v1/status', READ)
  const [{ id = '' } = {}] = asked.body['requests'] as { id?: string }[]
  await second.getByLabel(`Type ${id} to confirm`).fill(id)
  await checkAccessibility(t, second, 'an approval')
  await second.getByRole('button', { name: 'Approve now' }).click()
  await waitForHeadline(second, /Serving/)
  // An instance applies the restoration at its next poll.
  await eventually(async () => (await encrypt()) === 200)
  const faults = [...viewerFaults, ...operatorFaults, ...adminFaults, ...secondFaults]
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
