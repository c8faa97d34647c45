// Runs all checks that a change must pass before it is merged. The last line is `N passed, N failed`.
// SPDX-License-Identifier: Apache-2.0
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { prepareNode24 } from './node-24.mjs'
import { createPool } from './pool.mjs'
import { compile, cpuOfChildren, installPrograms, must, ROOT } from './process.mjs'
import { setUp } from './setup.mjs'
import { findTests, runTests, WIDTH } from './tests.mjs'

/** Programs and files (as shell patterns) required by the tests, each with its Debian package. */
const PROGRAMS = {
  chromium: 'chromium',
  '/usr/bin/aws': 'awscli',
  curl: 'curl',
  openssl: 'openssl',
  gcc: 'gcc',
  python3: 'python3',
  '/usr/sbin/mkfs.ext4': 'e2fsprogs',
  '/usr/sbin/e2fsck': 'e2fsprogs',
  mount: 'mount',
  spin: 'spin',
  haproxy: 'haproxy',
  nginx: 'nginx-light',
  tinyproxy: 'tinyproxy',
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

/** @param {() => Promise<{ passed?: number, failed?: number } | void>} work throws if the step fails */
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

/** Runs a tool from node_modules/.bin. Its output is shown only if it fails. */
const tool =
  (name, ...operands) =>
  () =>
    must('npx', ['--no', '--', name, ...operands]).then(() => {})

/** Steps that require only the build, the longest first. */
const STATIC_STEPS = [
  ['lint', tool('eslint', '--max-warnings=0', '.')],
  ['format', tool('prettier', '--check', '.')],
  ['unused files, exports and packages', tool('knip')],
  [
    'generated files are up to date',
    () => must(process.execPath, ['.ci/generate.mjs', '--check']).then(() => {}),
  ],
  ['openapi.yaml', tool('redocly', 'lint', 'openapi.yaml')],
  ['latchkey version', () => must(join(ROOT, 'dist/src/main.js'), ['version']).then(() => {})],
]

/** All steps share one queue, so that no core is idle while there is work left. */
async function main() {
  const ready = await step('install and build', () =>
    setUp(() => {}).then(() => installPrograms(PROGRAMS)),
  )
  if (!ready) return
  rmSync(join(ROOT, '.test-build'), { recursive: true, force: true })
  const pool = createPool(WIDTH)
  const compiling = pool(() => step('types of tests', () => compile('test')))
  const checking = STATIC_STEPS.map(([name, work]) => pool(() => step(name, work)))
  if (await compiling) {
    // Queue the copy for the second test run before the tests, so that it is ready early.
    const preparing = pool(prepareNode24)
    await Promise.all([
      step(`tests on Node.js ${process.versions.node}`, () =>
        runTests({ files: findTests(), pool, isShared: true }),
      ),
      step('tests on Node.js 24', async () =>
        runTests({ ...(await preparing), pool, isShared: true }),
      ),
    ])
  }
  await Promise.all(checking)
}

await main()
process.stdout.write(`processor time: ${cpuOfChildren().toFixed(0)} s\n`)
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1
