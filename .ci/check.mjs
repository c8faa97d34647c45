// Everything that must hold before a change is merged. Last line: `N passed, N failed`.
// SPDX-License-Identifier: Apache-2.0
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { testOnNode24 } from './node-24.mjs'
import { installPrograms, must, ROOT, run } from './process.mjs'
import { setUp } from './setup.mjs'

/** What tests need: a program, or a file by a pattern of the shell, with its Debian package. */
const PROGRAMS = {
  chromium: 'chromium',
  curl: 'curl',
  openssl: 'openssl',
  gcc: 'gcc',
  spin: 'spin',
  haproxy: 'haproxy',
  nginx: 'nginx-light',
  'systemd-analyze': 'systemd',
  promtool: 'prometheus',
  'softhsm2-util': 'softhsm2',
  '/usr/lib/postgresql/*/bin/initdb': 'postgresql',
  '/usr/sbin/pgbouncer': 'pgbouncer',
  'p11-kit': 'p11-kit',
  '/usr/include/p11-kit-1/p11-kit/pkcs11.h': 'libp11-kit-dev',
  '/usr/lib/*/p11-kit-proxy.so': 'p11-kit-modules',
  '/usr/lib/*/libsoftokn3.so': 'libnss3',
}

let passed = 0
let failed = 0

/** @param {() => Promise<{ passed?: number, failed?: number } | void>} work throws when it fails */
async function step(name, work) {
  const startedAt = performance.now()
  let note = 'ok'
  try {
    const counts = await work()
    passed += counts?.passed ?? 1
    failed += counts?.failed ?? 0
    if (counts !== undefined) note = `${counts.passed} passed, ${counts.failed} failed`
  } catch (error) {
    failed += 1
    note = 'FAILED'
    process.stdout.write(`${error.message}\n`)
  }
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  process.stdout.write(`${name.padEnd(44)} ${note} (${seconds} s)\n`)
  return note !== 'FAILED'
}

/** One tool of node_modules/.bin; its output is shown only when it fails. */
const tool =
  (name, ...operands) =>
  () =>
    must('npx', ['--no', '--', name, ...operands]).then(() => {})

/** Runs tap and counts its assertions. A run that ends badly counts as one failure at least. */
async function runTests() {
  const report = join(ROOT, '.tap/report.tap')
  // Otherwise a fresh installation runs once with tap's own list of plugins instead of that of .taprc.
  await must('npx', ['--no', '--', 'tap', 'build'])
  const { code, output } = await run('npx', [
    ...['--no', '--', 'tap', 'run', '--reporter=terse', `--output-file=${report}`],
  ])
  const text = readFileSync(report, 'utf8')
  const summary = [...text.matchAll(/^# \{ total: (\d+)(.*)\}$/gm)].at(-1)
  const part = (name) => Number(new RegExp(`${name}: (\\d+)`).exec(summary?.[2] ?? '')?.[1] ?? 0)
  const counts = { passed: part('pass'), failed: part('fail') }
  if (process.env.CI !== undefined && part('skip') + part('todo') > 0) {
    counts.failed += part('skip') + part('todo')
    process.stdout.write('in CI no test may be skipped\n')
  }
  if (code !== 0 || counts.passed === 0) {
    counts.failed = Math.max(counts.failed, 1)
    process.stdout.write(output)
  }
  return counts
}

async function main() {
  const ready = await step('install and build', () =>
    setUp(() => {}).then(() => installPrograms(PROGRAMS)),
  )
  if (!ready) return
  rmSync(join(ROOT, '.test-build'), { recursive: true, force: true })
  const compiled = await step('types of tests', tool('tsc', '-p', 'test'))
  await step('lint', tool('eslint', '--max-warnings=0', '.'))
  await step('format', tool('prettier', '--check', '.'))
  await step('openapi.yaml', tool('redocly', 'lint', 'openapi.yaml'))
  await step('generated files are up to date', () =>
    must(process.execPath, ['.ci/generate.mjs', '--check']).then(() => {}),
  )
  await step('npx latchkey', tool('latchkey', 'version'))
  await step('unused files, exports and packages', tool('knip'))
  if (!compiled) return
  await step(`tests on Node.js ${process.versions.node}`, runTests)
  await step('tests on Node.js 24', testOnNode24)
}

await main()
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1
