/** Tests how `npm run check` interprets the output of test files that fail, stop early, or contain no tests. */
// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { ROOT } from '../support/repository.ts'

interface Counts {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  readonly isWhole: boolean
}

const { countResults, excerpt } = (await import(
  pathToFileURL(join(ROOT, '.ci/tap-output.mjs')).href
)) as { countResults: (output: string) => Counts; excerpt: (output: string) => string }

/** Returns tap's output for a test file with this content. */
function outputOf(program: string): string {
  const words = ['--input-type=module', '-e', `import t from 'tap'\n${program}`]
  const env = { PATH: process.env['PATH'] ?? '' }
  return spawnSync(process.execPath, words, { cwd: ROOT, encoding: 'utf8', env }).stdout
}

const SUBTESTS = `
  t.test('one', (t) => { t.ok(true); t.equal(1, 1); t.end() })
  t.test('two', (t) => { t.test('inner', async (t) => t.ok(true)); t.end() })`

const CASES: readonly (readonly [name: string, program: string, counts: Counts])[] = [
  [
    'assertions are counted, and not the results that sum them up',
    `t.ok(true)\n${SUBTESTS}`,
    { passed: 4, failed: 0, skipped: 0, isWhole: true },
  ],
  [
    'a failure far inside is one',
    `${SUBTESTS}\nt.test('x', (t) => { t.test('y', async (t) => t.equal(1, 2)); t.end() })`,
    { passed: 3, failed: 1, skipped: 0, isWhole: true },
  ],
  [
    'what is skipped or left for later is counted',
    "t.ok(true)\nt.test('x', { skip: 'no' }, () => {})\nt.test('y', { todo: true }, () => {})",
    { passed: 3, failed: 0, skipped: 2, isWhole: true },
  ],
  [
    'fewer results than planned are not the whole',
    't.plan(2)\nt.ok(true)\nprocess.kill(process.pid, "SIGKILL")',
    { passed: 1, failed: 0, skipped: 0, isWhole: false },
  ],
  [
    'a process that ends at once has said nothing',
    "process.kill(process.pid, 'SIGKILL')",
    { passed: 0, failed: 0, skipped: 0, isWhole: false },
  ],
]

for (const [name, program, counts] of CASES) {
  void t.test(name, (t) => {
    t.same(countResults(outputOf(program)), counts)
    t.end()
  })
}

void t.test('a file that exits in the middle of a test does not pass', (t) => {
  const { failed, isWhole } = countResults(
    outputOf("t.test('x', async (t) => { t.ok(true); process.exit(0) })"),
  )
  t.ok(failed > 0 || !isWhole)
  t.end()
})

void t.test('a failure is shown with its diagnostics, or with the end of the output', (t) => {
  t.match(excerpt(outputOf("t.ok(true)\nt.equal(1, 2, 'one is two')")), /not ok 2 - one is two/)
  t.equal(excerpt('first\nError: last'), 'first\nError: last')
  t.end()
})
