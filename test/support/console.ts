/** Opens the console in Chromium and signs in. */
// SPDX-License-Identifier: Apache-2.0
import type { Browser, Page } from 'playwright-core'
import type { Test } from 'tap'
import { pki, token } from './admin.ts'
import type { TestServer } from './server.ts'

const alice = await pki.issue('alice-console', { commonName: 'alice', usage: 'client' })

export interface OpenConsole {
  readonly page: Page
  /** Page and script errors seen so far. */
  readonly faults: string[]
}

export interface OpenOptions {
  /** Console page to open (default: `now`). */
  readonly view?: string
  /** Whether to present alice's certificate, which grants the admin role. */
  readonly certificate?: boolean
}

export const originOf = (server: TestServer) =>
  `https://localhost:${String(server.running.admin?.port)}`

export async function openConsole(
  t: Test,
  browser: Browser,
  server: TestServer,
  { view = 'now', certificate = false }: OpenOptions = {},
): Promise<OpenConsole> {
  const origin = originOf(server)
  const { certificateFile: certPath, privateKeyFile: keyPath } = alice
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    ...(certificate && { clientCertificates: [{ origin, certPath, keyPath }] }),
  })
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  const faults: string[] = []
  page.on('pageerror', (error) => faults.push(error.message))
  page.on('console', (message) => {
    // Chromium reports every 401 as an error, but a refused sign-in is expected here. It also aborts requests when
    // another test changes a network interface; the page then retries.
    const isExpected = /401|ERR_NETWORK_CHANGED/.test(message.text())
    if (message.type() === 'error' && !isExpected) faults.push(message.text())
  })
  t.teardown(() => context.close())
  await page.goto(`${origin}/console#${view}`)
  return { page, faults }
}

export async function signIn(page: Page, role: string): Promise<void> {
  await page.getByLabel('Token').fill(token(role))
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByText(`${role}-token, ${role}`).waitFor()
}

/** Waits until the headline has this text. */
export const waitForHeadline = (page: Page, text: RegExp) =>
  page.getByRole('status', { name: 'State' }).filter({ hasText: text }).waitFor()
