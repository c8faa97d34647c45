/** Logs in to the console through a real identity provider, in a real browser. */
// SPDX-License-Identifier: Apache-2.0
import type { Page } from 'playwright-core'
import t, { type Test } from 'tap'
import { checkAccessibility } from '../support/accessibility.ts'
import { pki, startWithAdmin } from '../support/admin.ts'
import { startChromium } from '../support/chromium.ts'
import { openConsole, originOf, waitForHeadline } from '../support/console.ts'
import { CLIENT, createKey, startIssuer } from '../support/issuer.ts'
import { eventually } from '../support/server.ts'

t.setTimeout(240_000)

const TOKEN = '/token'

async function start(t: Test, idTokenSeconds = 3600) {
  const provider = await startIssuer(t, await createKey('one'), { idTokenSeconds })
  const oidc = {
    ...{ issuer: provider.issuer, audience: CLIENT, ca: pki.caFile, clockSkew: '0s' },
    // Without this scope, the provider returns no refresh token.
    scope: 'openid offline_access',
    roles: [{ value: 'oncall', role: 'operator', keyStores: ['demo'] }],
  }
  const server = await startWithAdmin(t, {}, { oidc })
  provider.allow(`${originOf(server)}/console`)
  return { provider, server, browser: await startChromium(t) }
}

async function logIn(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Log in with the identity provider' }).click()
  // The provider asks for the account, then for consent, unless its session already has them.
  for (let asked = 0; asked < 2; asked++) {
    const button = page.getByRole('button', { name: 'Sign in as alice' })
    await button.or(page.getByText('alice, operator of demo')).first().waitFor()
    if (!(await button.isVisible())) break
    const asking = page.url()
    await button.click()
    await page.waitForURL(({ href }) => href !== asking)
  }
  await page.getByText('alice, operator of demo').waitFor()
}

void t.test('a person logs in with a code, and leaves nothing behind in the browser', async (t) => {
  const { provider, server, browser } = await start(t)
  const { page, faults } = await openConsole(t, browser, server, { view: 'keys' })
  await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  await checkAccessibility(t, page, 'with an identity provider')
  await logIn(page)
  await waitForHeadline(page, /Serving/)
  t.equal(page.url(), `${originOf(server)}/console#keys`, 'the code is not in the address')
  t.same(provider.grants, ['authorization_code'])
  const kept = await page.evaluate(
    'sessionStorage.length + localStorage.length + document.cookie.length',
  )
  t.equal(kept, 0)
  await page.reload()
  await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  // Two errors are expected: the test role covers only one key store (403), and the provider's login page has no icon
  // (404).
  t.same(
    faults.filter((one) => !/status of 40[34]/.test(one)),
    [],
  )
})

void t.test(
  'a login of another tab is refused, and a limited role may not stop everything',
  async (t) => {
    const { provider, server, browser } = await start(t)
    const { page } = await openConsole(t, browser, server)
    for (const answer of ['code=stolen', 'error=access_denied']) {
      await page.goto(`${originOf(server)}/console?${answer}&state=foreign`)
      await page.getByRole('alert').filter({ hasText: 'not started in this tab' }).waitFor()
      t.equal(page.url(), `${originOf(server)}/console`)
    }
    t.same(provider.grants, [], 'no code was redeemed')
    await logIn(page)
    await page.getByRole('button', { name: 'Unlock actions' }).click()
    const offered = await page.locator('#stop select').first().locator('option').allInnerTexts()
    t.same(offered, ['One key store', 'One key', 'An AWS account', 'A principal'])
  },
)

void t.test('an expired session is renewed, and its end is told', async (t) => {
  const { provider, server, browser } = await start(t, 8)
  const { page } = await openConsole(t, browser, server)
  await logIn(page)
  await eventually(() => Promise.resolve(provider.grants.includes('refresh_token')))
  await waitForHeadline(page, /Serving/)
  provider.disturb({ [TOKEN]: '{"error":"invalid_grant"}' }, 400)
  await page.getByRole('alert').filter({ hasText: 'the session has expired' }).waitFor()
  await page.getByRole('heading', { name: 'Sign in' }).waitFor()
  t.notOk(await page.locator('#content').isVisible(), 'nothing is shown any more')
  provider.heal()
  await logIn(page)
})

for (const [what, body] of [
  ['the listener', '{"error":{"code":"UNAUTHENTICATED","message":"a token is required"}}'],
  ['a reverse proxy', '<html>Unauthorized</html>'],
] as const)
  void t.test(`a renewed session that ${what} still refuses ends once`, async (t) => {
    const { server, browser } = await start(t)
    const { page } = await openConsole(t, browser, server)
    await logIn(page)
    await waitForHeadline(page, /Serving/)
    let renewals = 0
    await page.route('**/admin/v1/**', async (route) => {
      const isRenewal = new URL(route.request().url()).pathname.endsWith('/login/browser')
      if (isRenewal) renewals += 1
      const session = '{"token":"another","refreshToken":"another"}'
      await route.fulfill({
        ...(isRenewal ? { status: 200, body: session } : { status: 401, body }),
        contentType: isRenewal || body.startsWith('{') ? 'application/json' : 'text/html',
      })
    })
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
    t.notOk(await page.locator('#content').isVisible(), 'nothing is shown any more')
    t.ok(renewals === 1 || renewals === 2, 'once for each call that was in flight')
  })
