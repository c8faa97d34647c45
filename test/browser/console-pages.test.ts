/** Opens each console page in a real browser, stops access using only the keyboard, and prints a receipt. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Page } from 'playwright-core'
import t from 'tap'
import { call, sha256, startWithAdmin, token } from '../support/admin.ts'
import { checkAccessibility } from '../support/accessibility.ts'
import { LOOK_AT_CANVASES, startChromium } from '../support/chromium.ts'
import { temporaryFolder } from '../support/cli.ts'
import { openConsole, signIn, waitForHeadline } from '../support/console.ts'
import { KEY_ID, eventually } from '../support/server.ts'

const FIRST_PAINT_BYTES = 100_000
const POLICY = '@id("all") permit(principal, action, resource);'

/** Presses Tab until the element with this name has the focus, as a keyboard user would. */
async function tabTo(page: Page, name: RegExp): Promise<void> {
  const focused = `(() => {
    const one = document.activeElement
    return one.ariaLabel ?? one.labels?.[0]?.textContent ?? one.textContent
  })()`
  for (let i = 0; i < 60; i++) {
    await page.keyboard.press('Tab')
    if (name.test(await page.evaluate<string>(focused))) return
  }
  throw new Error(`Tab never reaches ${String(name)}`)
}

void t.test('the first page is small, and plots load only on pages that show them', async (t) => {
  const server = await startWithAdmin(t)
  const client = server.client()
  await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })
  const browser = await startChromium(t)
  const { page, faults } = await openConsole(t, browser, server)
  const sizes = new Map<string, number>()
  page.on('requestfinished', async (request) => {
    const { responseBodySize, responseHeadersSize } = await request.sizes()
    sizes.set(new URL(request.url()).pathname, responseBodySize + responseHeadersSize)
  })
  await page.reload()
  await signIn(page, 'viewer')
  await waitForHeadline(page, /Serving/)
  await page.getByRole('heading', { name: 'Instances' }).waitFor()
  const first = [...sizes.values()].reduce((sum, size) => sum + size, 0)
  t.ok(sizes.has('/console/app.js'))
  t.ok(
    first > 10_000 && first < FIRST_PAINT_BYTES,
    `${String(first)} bytes until it shows the state`,
  )
  t.notOk(sizes.has('/console/uplot.js'))

  await page.getByRole('link', { name: 'Traffic' }).click()
  await page.locator('#plot-stages canvas').waitFor()
  await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })
  await client.encrypt('no-such-key', { plaintext: Buffer.alloc(32) })
  const cell = (name: string) => page.getByRole('cell', { name, exact: true })
  await page.getByRole('cell', { name: /^KeyNotFoundException/ }).waitFor()
  await cell('backend').waitFor()
  const medians = page.locator('#rates-table tbody td').nth(3)
  await eventually(async () => /^[\d.]+ ms$/.test(await medians.innerText()))
  await checkAccessibility(t, page, 'traffic')
  // The plots are redrawn after the width or the color scheme changes.
  await eventually(async () => {
    const looks =
      await page.evaluate<readonly { drawn: number; colors: number }[]>(LOOK_AT_CANVASES)
    return looks.length === 3 && looks.every(({ drawn, colors }) => drawn > 1000 && colors > 3)
  })
  t.equal(await page.title(), 'Traffic - Latchkey console')
  t.same(faults, [])
})

void t.test('stop access with the keyboard, print the receipt, and view the records', async (t) => {
  const server = await startWithAdmin(t, {
    audit: { mode: 'buffered', checkpointInterval: '100ms' },
  })
  const client = server.client()
  await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })
  const browser = await startChromium(t)
  const { page, faults } = await openConsole(t, browser, server)
  await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  await tabTo(page, /^Token$/)
  await page.keyboard.type(token('operator'))
  await page.keyboard.press('Enter')
  await waitForHeadline(page, /Serving/)

  await tabTo(page, /^Unlock actions$/)
  await page.keyboard.press('Space')
  await tabTo(page, /^What to stop$/)
  await page.keyboard.type('Everything')
  await tabTo(page, /^Reason, recorded permanently$/)
  await page.keyboard.type('by keyboard')
  await tabTo(page, /^Rehearse$/)
  await page.keyboard.press('Enter')
  await page.getByLabel('Type all to confirm').waitFor()
  await eventually(() => page.evaluate<boolean>(`document.activeElement.id === 'stop-name'`))
  await page.keyboard.type('all')
  await tabTo(page, /^Stop now$/)
  await page.keyboard.press('Enter')
  const done = page.getByRole('heading', { name: /^Revoked after \d+ ms$/ })
  await done.waitFor()
  t.match(await page.evaluate<string>('document.activeElement.textContent'), /^Revoked after/)

  await page.evaluate('window.print = () => { window.hasPrinted = true }')
  await page.getByRole('button', { name: 'Print' }).click()
  t.ok(await page.evaluate('window.hasPrinted'))
  await page.emulateMedia({ media: 'print' })
  const paper = await page.locator('body').innerText()
  t.match(paper, /Revocation receipt[^]*by keyboard[^]*operator-token[^]*Signature/)
  t.notMatch(paper, /Instances|Unlock|Serving|Stopped\.|Records/, 'nothing else is printed')
  await page.emulateMedia({ media: 'screen' })
  await page.evaluate(`dispatchEvent(new Event('afterprint'))`)
  t.match(await page.locator('body').innerText(), 'Instances')

  await page.getByRole('link', { name: 'Records' }).click()
  await page.getByText(/^Chain verified: events 1 to \d+\.$/).waitFor()
  await page.getByRole('cell', { name: 'all: by keyboard' }).first().waitFor()
  const { body } = await call(server, 'GET', '/admin/v1/receipts', { token: token('viewer') })
  const [{ statement: { id = '' } = {} } = {}] = body['receipts'] as {
    statement?: { id?: string }
  }[]
  await page.getByRole('button', { name: `Show the receipt ${id}` }).click()
  await page.getByRole('article', { name: `Receipt ${id}` }).waitFor()
  await page.getByRole('cell', { name: 'certificate and checkpoint' }).waitFor()
  await page.getByRole('cell', { name: 'Encrypt', exact: true }).first().waitFor()
  await page.getByText(/^No policies: every caller/).waitFor()
  await checkAccessibility(t, page, 'records')
  t.same(faults, [])
})

void t.test('keys, usage, expirations, and the view of a restricted role', async (t) => {
  const expiresAt = Date.now() + 3 * 86_400_000
  const server = await startWithAdmin(
    t,
    {
      activity: { flushInterval: '100ms' },
      // Without maxBackupAge: '0s', a store with keys that has no backup causes a warning.
      store: { path: 'latchkey.db', masterKey: { file: 'master.key' }, pollInterval: '50ms' },
    },
    {
      tokens: [
        { name: 'admin-token', role: 'admin', sha256: sha256(token('admin')) },
        {
          name: 'viewer-token',
          role: 'viewer',
          keyStores: ['demo'],
          sha256: sha256(token('viewer')),
        },
      ],
    },
  )
  const admin = { token: token('admin') }
  const created = await call(server, 'POST', '/admin/v1/credentials', {
    ...admin,
    body: { keyStore: 'demo', expiresAt },
  })
  t.equal(created.status, 200)
  await server.client().encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })
  const policy = { kind: 'put', documents: { main: POLICY }, reason: 'a test' }
  t.equal(
    (await call(server, 'POST', '/admin/v1/policies', { ...admin, body: policy })).status,
    200,
  )
  const browser = await startChromium(t)
  const { page, faults } = await openConsole(t, browser, server, {
    view: 'keys',
    certificate: true,
  })
  await page.getByRole('heading', { name: 'Key stores' }).waitFor()
  await eventually(async () => {
    await page.getByRole('link', { name: 'Now' }).click()
    await page.getByRole('link', { name: 'Keys' }).click()
    await page.getByRole('button', { name: `Callers of demo/${KEY_ID}` }).click()
    await page.getByRole('heading', { name: `Callers of demo/${KEY_ID}` }).waitFor()
    return (await page.getByRole('cell', { name: /^arn:aws:iam::/ }).count()) === 1
  })
  await page.getByRole('cell', { name: 'encrypt, decrypt' }).first().waitFor()
  await page.getByRole('cell', { name: '1 current' }).first().waitFor()
  await page
    .getByRole('cell', { name: /^Certificate: / })
    .first()
    .waitFor()
  const { accessKeyId = '' } = created.body as { accessKeyId?: string }
  const row = page.getByRole('row').filter({ hasText: `Credential ${accessKeyId} of demo` })
  t.match(await row.innerText(), /in 2 days/)
  await checkAccessibility(t, page, 'keys')

  await page.getByRole('link', { name: 'Records' }).click()
  await page.getByRole('button', { name: 'Show the policy document main' }).click()
  await page.getByText(POLICY).waitFor()
  t.same(faults, [])

  await page.getByRole('link', { name: 'Now' }).click()
  await page.getByRole('heading', { name: 'Warnings' }).waitFor()
  await page.getByText('latchkey store backup has not made a backup yet').waitFor()
  await checkAccessibility(t, page, 'now, with a warning')

  const { page: other, faults: otherFaults } = await openConsole(t, browser, server)
  await signIn(other, 'viewer')
  await other.getByLabel('Show what continues to work with').waitFor()
  t.equal(await other.getByLabel('Show what continues to work with').inputValue(), '?keyStore=demo')
  await other.getByRole('link', { name: 'Keys' }).click()
  await other.getByText('Certificates are not listed').waitFor()
  await other.getByRole('link', { name: 'Traffic' }).click()
  await other.getByText('There is nothing to plot').waitFor()
  await other.getByRole('link', { name: 'Records' }).click()
  await other.locator('#audit').getByText('does not allow this for all key stores').waitFor()
  t.same(
    otherFaults.filter((one) => !one.includes('403')),
    [],
  )
})

void t.test('a warning about a list of keys is shown beside the list', async (t) => {
  const policies = await temporaryFolder(t)
  await writeFile(join(policies, 'main.cedar'), POLICY)
  const server = await startWithAdmin(t, { policy: { folder: policies } })
  await writeFile(join(policies, 'labels.yaml'), '[')
  const browser = await startChromium(t)
  const { page, faults } = await openConsole(t, browser, server, {
    view: 'keys',
    certificate: true,
  })
  await page.getByText(/^cannot read the labels of the keys: /).waitFor()
  await page.getByRole('cell', { name: KEY_ID, exact: true }).waitFor()
  t.same(faults, [])
})

/** Holds back the first request to `path` whose body contains `text`. Returns a function that releases it. */
async function holdBack(page: Page, path: string, text: string): Promise<() => void> {
  let letGo = (): void => undefined
  const held = new Promise<void>((resolve) => {
    letGo = resolve
  })
  let isFirst = true
  await page.route(`**/admin/v1${path}`, async (route) => {
    if (isFirst && (route.request().postData() ?? '').includes(text)) {
      isFirst = false
      await held
    }
    await route.continue()
  })
  return () => {
    letGo()
  }
}

void t.test(
  'a response that arrives late neither replaces a newer one nor allows a stop',
  async (t) => {
    const server = await startWithAdmin(t)
    await server.client().encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })
    const browser = await startChromium(t)
    const { page, faults } = await openConsole(t, browser, server)
    await signIn(page, 'operator')
    await waitForHeadline(page, /Serving/)

    await page.getByRole('button', { name: 'Unlock actions' }).click()
    const rehearsal = await holdBack(page, '/rehearsals', '"key-store"')
    const asked = page.waitForRequest('**/admin/v1/rehearsals')
    await page.getByRole('button', { name: 'Rehearse' }).click()
    await asked
    await page.getByLabel('What to stop').selectOption('all')
    const answered = page.waitForResponse('**/admin/v1/rehearsals')
    rehearsal()
    await (await answered).finished()
    await page.evaluate('new Promise((resolve) => setTimeout(resolve, 100))')
    t.notOk(await page.getByLabel(/to confirm$/).isVisible(), 'another scope was rehearsed')
    t.ok(await page.getByRole('button', { name: 'Stop now' }).isDisabled())
    await page.getByRole('button', { name: 'Rehearse' }).click()
    await page.getByLabel('Type all to confirm').waitFor()

    // Choose a key while an earlier load of the keys is held back.
    await page.unroute('**/admin/v1/rehearsals')
    await page.getByRole('link', { name: 'Keys' }).click()
    const callers = page.getByRole('button', { name: `Callers of demo/${KEY_ID}` })
    await callers.waitFor()
    const keys = await holdBack(page, '/rehearsals', '"key-store"')
    await page.getByRole('link', { name: 'Now' }).click()
    await page.getByRole('link', { name: 'Keys' }).click()
    await page.getByText('Loading.').first().waitFor()
    t.equal(await callers.count(), 0, 'outdated keys cannot be chosen')
    await page.getByRole('link', { name: 'Now' }).click()
    await page.getByRole('link', { name: 'Keys' }).click()
    await callers.click()
    const chosen = page.getByRole('heading', { name: `Callers of demo/${KEY_ID}` })
    await chosen.waitFor()
    const loaded = page.waitForResponse('**/admin/v1/rehearsals')
    keys()
    await (await loaded).finished()
    await page.evaluate('new Promise((resolve) => setTimeout(resolve, 100))')
    t.ok(await chosen.isVisible())
    t.same(faults, [])
  },
)
