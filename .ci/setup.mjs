// Turns a clean clone into a built program: installs the packages, builds the native add-ons and compiles the sources.
// It does only what has not been done yet.
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildAddOns, buildOwnAddOns } from './native.mjs'
import { compile, must, ROOT } from './process.mjs'

const STAMP = join(ROOT, 'node_modules/.latchkey-setup')

function checkNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new Error(`Node.js 20.19 or later is needed, this is ${process.version}`)
  }
}

/** Returns a hash that changes whenever the packages or the add-ons' build target change. */
function fingerprint() {
  const hash = createHash('sha256').update(readFileSync(join(ROOT, 'package-lock.json')))
  return hash
    .update(`${process.versions.modules} ${process.platform} ${process.arch}`)
    .digest('hex')
}

/** @param {(text: string) => void} say */
export async function setUp(say) {
  checkNode()
  const wanted = fingerprint()
  if (!existsSync(STAMP) || readFileSync(STAMP, 'utf8') !== wanted) {
    say('installing packages …\n')
    // Scripts stay disabled: only the add-ons named here are built, and packages cannot run anything else.
    await must('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'])
    say('building native add-ons and Latchkey …\n')
    await Promise.all([buildAddOns().then(buildOwnAddOns), build()])
    writeFileSync(STAMP, wanted)
    return
  }
  say('building Latchkey …\n')
  await Promise.all([buildOwnAddOns(), build()])
}

async function build() {
  rmSync(join(ROOT, 'dist'), { recursive: true, force: true })
  await compile('.')
  // `latchkey` in node_modules/.bin links to this file.
  chmodSync(join(ROOT, 'dist/src/main.js'), 0o755)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  // Outside CI, ask before installing system packages, because a person is probably trying out the project.
  const { CI, LATCHKEY_INSTALL } = process.env
  if (CI === undefined && LATCHKEY_INSTALL === undefined) process.env.LATCHKEY_ASK = '1'
  try {
    await setUp((text) => process.stdout.write(text))
  } catch (error) {
    process.stderr.write(`${error.message}\n`)
    process.exitCode = 1
  }
}
