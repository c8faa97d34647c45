// Generates the files of docs/images from a real run: the terminal of `simulate` as SVG, and the page of `report` and
// the console, in light and dark, as PNG. Run `npm run images` after changing one of them, on an otherwise idle
// machine, because the times in the pictures are real. `npm run images -- console` generates only those whose name
// contains a word.
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { chromium } from 'playwright-core'
import { ROOT } from './process.mjs'

const IMAGES = join(ROOT, 'docs/images')
const MAIN = join(ROOT, 'dist/src/main.js')
const CHROMIUM = '/usr/bin/chromium'
/** Size of the picture of the report in CSS pixels: its head, its figures and its chart. */
const REPORT = { width: 1080, height: 735 }

/** Starts quickstart in `folder`. Resolves to its address and a function that stops it. */
async function startDemo(folder) {
  const server = spawn(process.execPath, [MAIN, 'quickstart', '--dir', folder, '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  for await (const chunk of server.stdout) {
    text += chunk
    const [, endpoint] = /^Latchkey serves (https:\/\/localhost:\d+)\//m.exec(text) ?? []
    const [, consoleUrl] = /^console +(http:\S+)$/m.exec(text) ?? []
    if (endpoint !== undefined && consoleUrl !== undefined) {
      const stop = async () => {
        server.kill('SIGTERM')
        await once(server, 'exit')
      }
      return { endpoint, consoleUrl, stop }
    }
  }
  throw new Error(`quickstart ended:\n${text}`)
}

/** Runs a command of Latchkey in a pseudo terminal, and returns what it prints. @throws if it fails */
async function runInTerminal(words) {
  const command = [process.execPath, MAIN, ...words].join(' ')
  const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['ignore', 'pipe', 2] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk) => (text += chunk))
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${command} ended with ${code}:\n${text}`)
  return text.replaceAll('\r\n', '\n').trimEnd()
}

const FONT_PX = 14
const CELL_PX = 8.4
const LINE_PX = 20
const MARGIN_PX = 18
/** Colors of the terminal, by the parameters of the escape sequence. */
const STYLES = {
  '': 'fill="#d6dbe1"',
  1: 'fill="#ffffff" font-weight="bold"',
  2: 'fill="#9aa5b1"',
  31: 'fill="#ff7b72"',
  32: 'fill="#7ee787"',
  '1;31': 'fill="#ff7b72" font-weight="bold"',
  '1;32': 'fill="#7ee787" font-weight="bold"',
}

const escapeXml = (text) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

/** Draws the text of a terminal, with its colors. Each run of one style has its own column, whatever the font. */
function drawTerminal(title, text) {
  const lines = [`\u001b[1m$ ${title}\u001b[0m`, '', ...text.split('\n')]

  const sequence = /\u001b\[([\d;]*)m/
  let widest = 0
  const rows = lines.map((line, row) => {
    let column = 0
    let style = ''
    const parts = line.split(sequence)
    const spans = parts.flatMap((part, i) => {
      if (i % 2 === 1) {
        if (part !== '0' && !(part in STYLES)) throw new Error(`no style ${part}`)
        style = part === '0' ? '' : part
        return []
      }
      // Viewers collapse blanks, so each cell of a table gets its own position.
      const cells = [...part.matchAll(/\S+(?: \S+)*/g)].map(({ 0: cell, index }) => {
        const x = MARGIN_PX + (column + index) * CELL_PX
        return `<tspan x="${x.toFixed(1)}" ${STYLES[style]}>${escapeXml(cell)}</tspan>`
      })
      column += part.length
      return cells
    })
    widest = Math.max(widest, column)
    return spans.length === 0
      ? ''
      : `<text y="${MARGIN_PX + (row + 1) * LINE_PX - 5}">${spans.join('')}</text>`
  })
  const width = Math.ceil(widest * CELL_PX + 2 * MARGIN_PX)
  const height = lines.length * LINE_PX + 2 * MARGIN_PX
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="Output of ${escapeXml(title)}">
<rect width="${width}" height="${height}" rx="8" fill="#161b22"/>
<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="${FONT_PX}">
${rows.filter((row) => row !== '').join('\n')}
</g>
</svg>
`
}

async function drawSimulate(folder) {
  const demo = join(folder, 'demo')
  const { endpoint, stop } = await startDemo(demo)
  try {
    const text = await runInTerminal(['simulate', '--demo', demo, '--endpoint', endpoint])
    const shown = text.replaceAll(/https:\/\/localhost:\d+/g, 'https://localhost:8443')
    await writeFile(join(IMAGES, 'simulate.svg'), drawTerminal('latchkey simulate', shown))
  } finally {
    await stop()
  }
}

async function drawReport(folder) {
  const page = join(folder, 'report.html')
  await runInTerminal(['report', '--out', page])
  const browser = await launch()
  try {
    const tab = await browser.newPage({
      viewport: REPORT,
      deviceScaleFactor: 1.25,
      colorScheme: 'light',
    })
    await tab.goto(pathToFileURL(page).href)
    await tab.waitForSelector('#chart-rates canvas')
    await tab.screenshot({ path: join(IMAGES, 'report.png') })
  } finally {
    await browser.close()
  }
}

const launch = () => chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] })

/** Starts `simulate --serve`, and resolves once its applications run. Returns a function that stops it. */
async function playApplications(demo, endpoint) {
  const words = ['simulate', '--demo', demo, '--endpoint', endpoint, '--serve']
  const child = spawn(process.execPath, [MAIN, ...words], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  let text = ''
  for await (const chunk of child.stdout) {
    text += chunk
    if (text.includes('Ctrl-C stops it.')) break
  }
  return async () => {
    child.kill('SIGTERM')
    await ended
  }
}

/** How long the plots collect data before the screenshot, in milliseconds. */
const PLOTTED_MS = 60_000
const CONSOLE = { width: 1080, height: 900 }

/** Takes screenshots of the console's pages while the applications run, and of its first page after a stop. */
async function drawConsole(folder) {
  const demo = join(folder, 'console')
  const { endpoint, consoleUrl, stop } = await startDemo(demo)
  const stopApplications = await playApplications(demo, endpoint)
  const browser = await launch()
  try {
    const tab = await browser.newPage({ viewport: CONSOLE, deviceScaleFactor: 1.25 })
    const draw = async (name) => {
      for (const colorScheme of ['light', 'dark']) {
        await tab.emulateMedia({ colorScheme })
        // The plots are redrawn when the color scheme changes.
        await tab.waitForTimeout(500)
        await tab.screenshot({ path: join(IMAGES, `console-${name}-${colorScheme}.png`) })
      }
      await tab.emulateMedia({ colorScheme: 'light' })
    }
    await tab.goto(`${consoleUrl}#traffic`)
    await tab.getByLabel('Token').fill((await readFile(join(demo, 'console.token'), 'utf8')).trim())
    await tab.getByRole('button', { name: 'Sign in' }).click()
    await tab.locator('#plot-stages canvas').waitFor()
    await tab.waitForTimeout(PLOTTED_MS)
    await draw('traffic')
    await tab.getByRole('link', { name: 'Now' }).click()
    await tab.getByRole('button', { name: 'Unlock actions' }).click()
    await tab
      .getByLabel('Reason, recorded permanently')
      .fill('INC-2041: credentials of the vendor leaked')
    await tab.getByRole('button', { name: 'Rehearse' }).click()
    await tab.getByLabel('Type demo to confirm').fill('demo')
    await tab.getByRole('button', { name: 'Stop now' }).click()
    await tab.getByRole('heading', { name: /^Revoked after/ }).waitFor()
    await tab.getByRole('status', { name: 'State' }).filter({ hasText: 'Stopped' }).waitFor()
    await tab.evaluate('scrollTo(0, 0)')
    await draw('stopped')
  } finally {
    await browser.close()
    await stopApplications()
    await stop()
  }
}

await mkdir(IMAGES, { recursive: true })
const PICTURES = { simulate: drawSimulate, report: drawReport, console: drawConsole }
const [word = ''] = process.argv.slice(2)
const folder = await mkdtemp(join(tmpdir(), 'latchkey-images-'))
try {
  for (const [name, draw] of Object.entries(PICTURES)) if (name.includes(word)) await draw(folder)
} finally {
  await rm(folder, { recursive: true, force: true })
}
