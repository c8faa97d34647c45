// Generates the images in docs/images from a real run: the terminal output of `simulate` as SVG, and the report page
// and the console in light and dark mode as PNG. Run `npm run images` after changing any of them, on an otherwise idle
// machine, because the times in the images are real. `npm run images -- console` generates only the images whose names
// contain `console`. To run Latchkey in its container image, first run `KEEP=1 npm run check:container -- latchkey`,
// then set `ON=localhost/latchkey-check` in the environment; this requires root.
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chown, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { chromium } from 'playwright-core'
import { buildah, buildahArguments } from './buildah.mjs'
import { ROOT } from './process.mjs'

const IMAGES = join(ROOT, 'docs/images')
const MAIN = join(ROOT, 'dist/src/main.js')
const CHROMIUM = '/usr/bin/chromium'
/** Uid in the container images. */
const USER = 1000
/** Size of the report image in CSS pixels. It shows the header, the figures and the chart. */
const REPORT = { width: 1080, height: 735 }

const image = process.env.ON
const folder = await mkdtemp(join(tmpdir(), 'latchkey-images-'))
/** Container in which Latchkey runs, if it runs in an image. */
const container = image === undefined ? undefined : await buildah('from', image)

/** Returns the command line that runs Latchkey on the host or in the container. */
function commandLine(words, flags = []) {
  if (container === undefined) return [process.execPath, MAIN, ...words]
  return [
    'buildah',
    ...buildahArguments('run', '--isolation', 'chroot', '--user', `${USER}:${USER}`, ...flags),
    ...['--volume', `${folder}:${folder}:rw`, container, '--', '/usr/local/bin/latchkey', ...words],
  ]
}

/**
 * Starts a Latchkey command in its own process group. `stop` terminates the group and resolves once the command has
 * exited.
 */
function start(words) {
  const [command, ...operands] = commandLine(words)
  const stdio = ['ignore', 'pipe', 'inherit']
  const child = spawn(command, operands, { stdio, detached: true })
  const ended = once(child, 'exit')
  const stop = async () => {
    process.kill(-child.pid, 'SIGTERM')
    await ended
  }
  return { stdout: child.stdout, stop }
}

/** Starts quickstart in the folder `dir`. Resolves to its address and a function that stops it. */
async function startDemo(dir) {
  const { stdout, stop } = start(['quickstart', '--dir', dir, '--port', '0'])
  let text = ''
  for await (const chunk of stdout) {
    text += chunk
    const [, endpoint] = /^Latchkey serves (https:\/\/localhost:\d+)\//m.exec(text) ?? []
    const [, consoleUrl] = /^console +(http:\S+)$/m.exec(text) ?? []
    if (endpoint !== undefined && consoleUrl !== undefined) return { endpoint, consoleUrl, stop }
  }
  throw new Error(`quickstart ended:\n${text}`)
}

/** Runs a Latchkey command in a pseudoterminal, and returns its output. @throws if it fails */
async function runInTerminal(words) {
  const command = commandLine(words, ['--terminal']).join(' ')
  const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['ignore', 'pipe', 2] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk) => (text += chunk))
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${command} ended with ${code}:\n${text}`)
  // Output from buildah's terminal begins with an echoed NUL.
  return text.replace(/^\^@/, '').replaceAll('\r\n', '\n').trimEnd()
}

const FONT_PX = 14
const CELL_PX = 8.4
const LINE_PX = 20
const MARGIN_PX = 18
/** Terminal colors by escape sequence parameter. */
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

/**
 * Draws terminal output with its colors. Each run of text in one style is positioned by its column, so that the result
 * does not depend on the font.
 */
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
      // SVG viewers collapse spaces, so each table cell has its own position.
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

async function drawSimulate() {
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

async function drawReport() {
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

/** Starts `simulate --serve`, and resolves once its applications are running. Returns a function that stops it. */
async function playApplications(demo, endpoint) {
  const { stdout, stop } = start(['simulate', '--demo', demo, '--endpoint', endpoint, '--serve'])
  let text = ''
  for await (const chunk of stdout) {
    text += chunk
    if (text.includes('Press Ctrl-C to stop.')) break
  }
  return stop
}

/** Time for which the plots collect data before the screenshot, in milliseconds. */
const PLOTTED_MS = 60_000
const CONSOLE = { width: 1080, height: 900 }

/** Takes screenshots of the console's pages while the applications are running, and of its first page after a kill. */
async function drawConsole() {
  const demo = join(folder, 'console')
  const { endpoint, consoleUrl, stop } = await startDemo(demo)
  const stopApplications = await playApplications(demo, endpoint)
  const browser = await launch()
  try {
    const tab = await browser.newPage({ viewport: CONSOLE, deviceScaleFactor: 1.25 })
    const draw = async (name) => {
      for (const colorScheme of ['light', 'dark']) {
        await tab.emulateMedia({ colorScheme })
        // Wait until the plots have been redrawn in the new color scheme.
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
try {
  if (container !== undefined) await chown(folder, USER, USER)
  for (const [name, draw] of Object.entries(PICTURES)) if (name.includes(word)) await draw()
} finally {
  if (container !== undefined) await buildah('rm', container)
  await rm(folder, { recursive: true, force: true })
}
