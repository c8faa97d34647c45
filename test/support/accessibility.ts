/** Checks a page with axe-core in light mode, in dark mode and on a narrow screen. */
// SPDX-License-Identifier: Apache-2.0
import axe from 'axe-core'
import type { CDPSession, Page } from 'playwright-core'
import type { Test } from 'tap'

/** WCAG 2.2 rules at levels A and AA, and axe-core's own best practices. */
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22a', 'wcag22aa', 'best-practice']

/** An axe-core result. `passes` counts the rules that found something to check. */
interface Outcome {
  readonly passes: number
  readonly violations: readonly string[]
}

const RUN = `axe.run(document, { runOnly: ${JSON.stringify(RULES)}, resultTypes: ['violations'] }).then(({ passes, violations }) => ({
  passes: passes.length,
  violations: violations.map(({ id, nodes }) => id + ': ' + nodes.map(({ html, failureSummary }) => html + ' ' + failureSummary).join(' | ')),
}))`

const WIDE = { width: 1280, height: 800 }
/** The size of a small phone's screen, in CSS pixels. */
const NARROW = { width: 375, height: 700 }

const LOOKS = [
  { name: 'light', colorScheme: 'light', viewport: WIDE },
  { name: 'dark, 375 px', colorScheme: 'dark', viewport: NARROW },
] as const

const sessions = new WeakMap<Page, Promise<CDPSession>>()

/**
 * Runs axe-core in the page over the debugger connection, because the page's Content Security Policy blocks foreign
 * scripts.
 */
async function runAxe(page: Page): Promise<Outcome> {
  const session = sessions.get(page) ?? page.context().newCDPSession(page)
  sessions.set(page, session)
  const client = await session
  await client.send('Runtime.evaluate', { expression: `window.axe ?? (() => { ${axe.source} })()` })
  return page.evaluate<Outcome>(RUN)
}

/**
 * Asserts that the page's current state violates no WCAG 2.2 AA rule in light or dark mode, and does not overflow at a
 * width of 375 pixels.
 */
export async function checkAccessibility(t: Test, page: Page, state: string): Promise<void> {
  for (const { name, colorScheme, viewport } of LOOKS) {
    await page.emulateMedia({ colorScheme })
    await page.setViewportSize(viewport)
    const { passes, violations } = await runAxe(page)
    t.ok(passes > 10, `${state}, ${name}: ${String(passes)} rules apply`)
    t.same(violations, [], `${state}, ${name}: axe-core finds no violation`)
    const width = Number(await page.evaluate('document.documentElement.scrollWidth'))
    t.ok(width <= viewport.width, `${state}, ${name}: ${String(width)} px wide`)
  }
  await page.emulateMedia({ colorScheme: 'light' })
  await page.setViewportSize(WIDE)
}
