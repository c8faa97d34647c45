/**
 * Follows the emergency run-book (docs/run-book.md) in a real browser, using only the console. The browser has tokens
 * and a certificate, but neither the configuration nor the master key.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import type { Page } from 'playwright-core'
import t from 'tap'
import { call, startWithAdmin, token } from '../support/admin.ts'
import { checkAccessibility } from '../support/accessibility.ts'
import { startChromium } from '../support/chromium.ts'
import { latchkey, temporaryFolder } from '../support/cli.ts'
import { openConsole, signIn, waitForHeadline } from '../support/console.ts'
import { KEY_ID, eventually } from '../support/server.ts'

const READ = { token: token('viewer') }

/** Clicks a download link, and returns the file's path and text. */
async function download(page: Page, name: string) {
  const downloading = page.waitForEvent('download')
  await page.getByRole('link', { name }).click()
  const path = await (await downloading).path()
  return { path, text: readFileSync(path, 'utf8') }
}

void t.test(
  'the emergency run-book: one operator stops, two restore, a viewer only reads',
  async (t) => {
    const server = await startWithAdmin(t, {
      activity: { flushInterval: '100ms' },
      control: { restore: { people: 2 } },
    })
    const client = server.client()
    const encrypt = async () =>
      (await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status
    t.equal(await encrypt(), 200)
    const browser = await startChromium(t)

    const { page: viewer, faults: viewerFaults } = await openConsole(t, browser, server)
    await viewer.getByRole('heading', { name: 'Sign in' }).waitFor()
    await viewer.getByLabel('Token').fill('latchkey_wrong')
    await viewer.getByRole('button', { name: 'Sign in' }).click()
    await viewer.getByRole('alert').filter({ hasText: 'a valid client certificate' }).waitFor()
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
    const result = operator.locator('#stop > div h2, [role=alert]:not(:empty)')
    t.match(await result.first().innerText(), /Revoked after \d+ ms/)
    t.equal(await encrypt(), 400)
    await waitForHeadline(
      operator,
      /Stopped.*1 switch in force: key store demo.*by operator-token/s,
    )
    await waitForHeadline(viewer, /Stopped/)
    await checkAccessibility(t, operator, 'stopped, with a receipt')
    const seen = await call(server, 'GET', '/admin/v1/status', READ)
    const [{ id: switchId = '' } = {}] = seen.body['switches'] as { id?: string }[]

    // Step 3: every instance has acknowledged the kill, and the public key alone verifies the receipt.
    await operator.getByRole('row').filter({ hasText: 'open, 1 switch' }).waitFor()
    const { publicKey } = (await call(server, 'GET', '/admin/v1/receipt-key', READ)).body
    const receipt = await download(operator, 'Download the receipt')
    t.match(JSON.parse(receipt.text), { statement: { id: switchId, reason: 'contract ended' } })
    const words = ['receipt', 'verify', receipt.path, '--public-key', String(publicKey)]
    const verified = await latchkey(t, words, { cwd: await temporaryFolder(t) })
    t.match(verified.stdout, /^good signature/, verified.stderr)

    // Step 4: the page shows what the switch does not stop.
    const choice = operator.getByLabel('Show what continues to work with')
    await eventually(async () => (await choice.inputValue()) === `?switch=${switchId}`)
    const exposure = JSON.parse((await download(operator, 'Download as JSON')).text) as object
    t.match(exposure, {
      scope: { kind: 'key-store', keyStore: 'demo' },
      exposures: [{ keyId: KEY_ID, service: { name: 'direct calls to KMS' } }],
    })
    t.equal(await operator.getByRole('button', { name: 'Restore' }).count(), 0)

    const { page: admin, faults: adminFaults } = await openConsole(t, browser, server, {
      certificate: true,
    })
    await admin.getByText('alice, admin').waitFor()
    // Step 8: one person requests the restore, and another approves it.
    await admin.getByRole('button', { name: 'Unlock actions' }).click()
    await admin.getByRole('button', { name: 'Restore' }).click()
    await admin.getByLabel(`Type ${switchId} to confirm`).fill(switchId)
    await admin.getByLabel('Reason, recorded permanently').last().fill('contract renewed')
    await admin.getByRole('button', { name: 'Restore now' }).click()
    await admin.getByRole('cell', { name: `lift ${switchId}` }).waitFor()
    t.equal(await encrypt(), 400, 'it is waiting for approval by a second person')

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
    await second.getByText('Nothing is stopped.').waitFor()
    // An instance applies the restore at its next poll.
    await eventually(async () => (await encrypt()) === 200)
    const faults = [...viewerFaults, ...operatorFaults, ...adminFaults, ...secondFaults]
    t.same(faults, [], 'no page had an error')
  },
)

void t.test('a request that hangs is given up, and the next one shows the state', async (t) => {
  const server = await startWithAdmin(t)
  const browser = await startChromium(t)
  const { page } = await openConsole(t, browser, server)
  // The test triggers the timeouts itself, so that it does not have to wait for them.
  await page.addInitScript(`
    const running = []
    AbortSignal.timeout = () => {
      const controller = new AbortController()
      running.push(controller)
      return controller.signal
    }
    globalThis.endTime = () => {
      for (const one of running) one.abort(new DOMException('signal timed out', 'TimeoutError'))
    }
  `)
  await page.reload()
  await signIn(page, 'viewer')
  await waitForHeadline(page, /Serving/)
  let held = 0
  const path = '**/admin/v1/status*'
  await page.route(path, () => {
    held += 1
  })
  await eventually(() => held > 0)
  const order = { scope: { kind: 'all' }, reason: 'r' }
  const killed = await call(server, 'POST', '/admin/v1/switches', {
    ...{ token: token('operator'), body: order },
  })
  t.equal(killed.status, 200)
  await page.evaluate('endTime()')
  await page.getByRole('alert').filter({ hasText: 'did not respond within 15 seconds' }).waitFor()
  await page.unroute(path)
  await page.evaluate('endTime()')
  await waitForHeadline(page, /Stopped/)
  const late = page.getByRole('alert').filter({ hasText: 'did not respond' })
  await eventually(async () => (await late.count()) === 0)
})

void t.test("the console's files are small and load nothing from other sites", async (t) => {
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
