/** Opens the report page in a real browser, in light and in dark mode. */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { renderPage } from '../../src/tools/report/page.ts'
import { FIND_PALE_TEXTS, LOOK_AT_CANVASES, startChromium } from '../support/chromium.ts'
import { eventually } from '../support/server.ts'
import { sampleReport } from '../support/report-data.ts'

interface CanvasLook {
  readonly drawn: number
  readonly colors: number
  readonly has: readonly string[]
}

const folder = await mkdtemp(join(tmpdir(), 'latchkey-report-'))
t.teardown(() => rm(folder, { recursive: true, force: true }))
const file = join(folder, 'report.html')
await writeFile(file, await renderPage(sampleReport()))
const browser = await startChromium(t)

/** Color of the line for kept-alive connections, as `r,g,b`. */
const KEPT_COLOR = { light: '31,95,196', dark: '120,170,255' } as const

for (const colorScheme of ['light', 'dark'] as const) {
  for (const width of [1280, 390]) {
    void t.test(`${colorScheme}, ${String(width)} pixels wide`, async (t) => {
      const page = await browser.newPage({ colorScheme, viewport: { width, height: 900 } })
      t.teardown(() => page.close())
      const said: string[] = []
      const asked: string[] = []
      page.on('console', (message) => said.push(message.text()))
      page.on('pageerror', (error) => said.push(error.message))
      page.on('request', (request) => asked.push(request.url()))
      await page.goto(pathToFileURL(file).href)
      await page.waitForSelector('#chart-rates canvas')
      t.same(said, [], 'the console says nothing')
      t.same(asked, [pathToFileURL(file).href], 'nothing is asked for but the page')

      const canvases = await page.evaluate<readonly CanvasLook[]>(LOOK_AT_CANVASES)
      t.equal(canvases.length, 2)
      for (const { drawn, colors, has } of canvases) {
        t.ok(drawn > 2000 && colors > 4, `${String(drawn)} pixels of ${String(colors)} colours`)
        t.ok(has.includes(KEPT_COLOR[colorScheme]), 'in the colours of the scheme')
      }
      const { count, pale } = await page.evaluate<{ count: number; pale: readonly string[] }>(
        FIND_PALE_TEXTS,
      )
      t.ok(count > 100, `${String(count)} texts`)
      t.same(pale, [], 'all texts stand out')
      const scrolls = await page.evaluate<boolean>(
        'document.documentElement.scrollWidth > document.documentElement.clientWidth',
      )
      t.notOk(scrolls, 'nothing sticks out')
      const shots = process.env['LATCHKEY_SCREENSHOTS']
      if (shots !== undefined) {
        await page.screenshot({
          path: join(shots, `${colorScheme}-${String(width)}.png`),
          fullPage: true,
        })
      }
    })
  }
}

void t.test('the charts follow a color scheme change', async (t) => {
  const page = await browser.newPage({ colorScheme: 'light' })
  t.teardown(() => page.close())
  await page.goto(pathToFileURL(file).href)
  await page.waitForSelector('#chart-rates canvas')
  await page.emulateMedia({ colorScheme: 'dark' })
  await eventually(async () => {
    const looks = await page.evaluate<readonly CanvasLook[]>(LOOK_AT_CANVASES)
    return looks.every(({ has }) => has.includes(KEPT_COLOR.dark))
  })
  t.equal(await page.locator('canvas').count(), 2, 'drawn anew, not once more')
})

void t.test('external text is escaped, and the data is embedded in the page', async (t) => {
  const html = await readFile(file, 'utf8')
  t.notMatch(html, '<0.1.0>')
  t.match(html, 'Latchkey XKS Proxy &#60;0.1.0&#62;')
  t.notMatch(html, /(?:src|href)=/, 'and nothing refers to anything else')
  const [, json = ''] = /id="report-data">(.*?)<\/script>/.exec(html) ?? []
  t.same(JSON.parse(json), sampleReport())
})
