// Makes the pictures under docs/images from the built program: `node .ci/pictures.mjs`, by hand, on a quiet machine.
// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { spawn } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import { must, ROOT } from './process.mjs'

const MAIN = join(ROOT, 'dist/src/main.js')
const IMAGES = join(ROOT, 'docs/images')
const CHROMIUM_FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]
const START_TIMEOUT_MS = 60_000

/** Starts quickstart in a folder and resolves once it has printed the end of its round trip. */
function startDemo(folder) {
  const child = spawn(process.execPath, [MAIN, 'quickstart', '--dir', folder, '--port', '0'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('quickstart did not start')), START_TIMEOUT_MS)
    let output = ''
    child.stdout.on('data', (chunk) => {
      output += chunk
      const port = /https:\/\/localhost:(\d+)/.exec(output)?.[1]
      if (port === undefined || !output.includes('Decrypt')) return
      clearTimeout(timer)
      resolve({ child, endpoint: `https://localhost:${port}` })
    })
    child.once('exit', () => reject(new Error(`quickstart ended:\n${output}`)))
  })
}

/** Plays the scenario against a demo and returns what it prints. */
async function simulate(folder) {
  const demo = join(folder, 'demo')
  const { child, endpoint } = await startDemo(demo)
  try {
    const options = ['--demo', demo, '--endpoint', endpoint, '--timeout', '2000']
    return await must(process.execPath, [MAIN, 'simulate', ...options])
  } finally {
    child.kill('SIGINT')
  }
}

const escapeHtml = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

const toTerminal = (text) => `<!doctype html><meta charset="utf-8"><style>
body { margin: 0; background: #16181d; width: max-content }
pre { margin: 0; padding: 20px 28px; color: #d7dae0; font: 14px/1.45 'DejaVu Sans Mono', monospace }
</style><pre>${escapeHtml(text)}</pre>`

const folder = mkdtempSync(join(tmpdir(), 'latchkey-pictures-'))
const browser = await chromium.launch({
  executablePath: '/usr/bin/chromium',
  args: CHROMIUM_FLAGS,
})
try {
  mkdirSync(IMAGES, { recursive: true })
  const page = await browser.newPage({ viewport: { width: 1100, height: 900 } })

  const report = join(folder, 'report.html')
  await must(process.execPath, [MAIN, 'report', '--out', report])
  await page.setContent(readFileSync(report, 'utf8'))
  await page.waitForTimeout(500)
  await page.screenshot({ path: join(IMAGES, 'report.png') })

  await page.setContent(toTerminal(await simulate(folder)))
  await page.locator('body').screenshot({ path: join(IMAGES, 'simulate.png') })
} finally {
  await browser.close()
  rmSync(folder, { recursive: true, force: true })
}
process.stdout.write('written: docs/images/report.png, docs/images/simulate.png\n')
