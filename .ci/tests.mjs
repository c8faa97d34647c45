// Runs compiled test files, each in its own process. `node .ci/tests.mjs server/kill fleet` runs the files whose path
// contains one of these strings; with --shared, some files share a process, as in `npm run check`. tap's own runner is
// not used: it adds loaders and source maps to every process that a test starts, and takes four times as long (see
// docs/internals/decisions/0005-tests-compiled-before-tap.md).
// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createPool } from './pool.mjs'
import { ROOT, run } from './process.mjs'
import { countResults, excerpt } from './tap-output.mjs'

const FOLDER = '.test-build/test'
/** The slowest tests start first, so that the run does not end by waiting for one of them. */
const FIRST = ['fleet/', 'mutants/', 'crash/', 'contract/', 'faults/', 'kms/', 'model/', 'cli/']
/** tap's default of 30 s per file assumes a fast machine. This limit only stops tests that hang. */
const TIMEOUT_S = 600
const TOP_SHOWN = 12
/**
 * Maps the major version of Node.js to flags with which V8 optimizes only long-running code. Most test processes end
 * within seconds, and compiling their code with TurboFan would take a sixth of their processor time.
 */
const FLAGS = new Map([
  ['20', ['--interrupt-budget=2000000']],
  ['24', ['--invocation-count-for-maglev=12000', '--invocation-count-for-turbofan=90000']],
])

/**
 * Folders whose files may share a process, with the number of files per process. Loading the program takes as long as
 * running a test file.
 */
const SHARED = new Map([
  ['unit/', 20],
  ['server/', 5],
  ['contract/', 4],
  ['cli/', 5],
  ['audit/', 3],
  ['guard/', 5],
  ['property/', 3],
  ['fuzz/', 3],
  ['vectors/', 3],
  ['kms/', 3],
])
/**
 * Matches tests that need their own process, because they affect the entire process or take as long as a whole group of
 * tests.
 */
const ALONE = /lease-guard|workers|floods|overload|tracing|kill-doors|tampering/
/** Matches a setting that would apply to every test in the process. One test at a time is the default. */
const FOR_ALL = /^t\.(?:jobs = (?!1$)|(?:before|after|teardown|plan)\b)/m
/** Matches a file's own time limit. */
const LIMIT = /^t\.setTimeout\b/m
/** Folders whose files share a process even if they set a limit; test-group.mjs uses the runner's limit instead. */
const LIMITED = new Set(['cli/', 'contract/'])

/** Most tests spend their time waiting, so run more of them concurrently than there are cores. */
export const WIDTH = availableParallelism() + 1

/** @param {readonly string[]} texts strings to look for; a path must contain at least one (default: all files) */
export function findTests(texts = []) {
  const rank = (file) => {
    const at = FIRST.findIndex((folder) => file.startsWith(folder))
    return at < 0 ? FIRST.length : at
  }
  return readdirSync(join(ROOT, FOLDER), { recursive: true })
    .filter((file) => file.endsWith('.test.js'))
    .filter((file) => texts.length === 0 || texts.some((text) => file.includes(text)))
    .sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1))
}

/** @returns {string[][]} the files for each process, in order */
function group(files) {
  const groups = []
  const open = new Map()
  for (const file of files) {
    const folder = [...SHARED.keys()].find((one) => file.startsWith(one))
    const text = readFileSync(join(ROOT, FOLDER, file), 'utf8')
    if (
      folder === undefined ||
      ALONE.test(file) ||
      FOR_ALL.test(text) ||
      (LIMIT.test(text) && !LIMITED.has(folder)) ||
      !/\bt\.test\(/.test(text)
    ) {
      groups.push([file])
      continue
    }
    const last = open.get(folder)
    if (last !== undefined && last.length < SHARED.get(folder)) last.push(file)
    else {
      const next = [file]
      open.set(folder, next)
      groups.push(next)
    }
  }
  return groups
}

/**
 * @param {{ files: readonly string[], pool: ReturnType<typeof createPool>, node?: string, version?: string, cwd?: string,
 * env?: Record<string, string>, isShared?: boolean }} options `isShared`: some files share a process
 * @returns {Promise<{ passed: number, failed: number }>} counts of assertions. A process that exits abnormally counts
 * as at least one failure, and in CI so does each skipped test.
 */
export async function runTests({
  files,
  pool,
  node = process.execPath,
  version = process.versions.node,
  cwd = ROOT,
  env = {},
  isShared = false,
}) {
  const counts = { passed: 0, failed: 0 }
  const times = []
  const runGroup = async (group, number) => {
    const startedAt = performance.now()
    const paths = group.map((file) => join(FOLDER, file))
    const isAlone = paths.length === 1
    const timeoutS = TIMEOUT_S * paths.length
    const { code, output, stdout, cpuSeconds } = await run(
      node,
      [
        ...(FLAGS.get(version.split('.')[0]) ?? []),
        ...(isAlone ? paths : [join(ROOT, '.ci/test-group.mjs'), String(number)]),
      ],
      {
        cwd,
        env: {
          TAP_TIMEOUT: String(timeoutS),
          ...(isAlone ? {} : { TEST_FILES: paths.join('\n') }),
          ...env,
        },
        timeoutMs: (timeoutS + 10) * 1000,
      },
    )
    const file = group.join(' ')
    times.push({ file, cpuSeconds, seconds: (performance.now() - startedAt) / 1000 })
    const { passed, failed, skipped, isWhole } = countResults(stdout)
    const refused = process.env.CI === undefined ? 0 : skipped
    const isGood = code === 0 && isWhole && failed + refused === 0
    counts.passed += passed
    counts.failed += isGood ? 0 : Math.max(failed + refused, 1)
    if (isGood) return
    process.stdout.write(`${file} on ${node} ended with ${code}:\n${excerpt(output)}\n`)
    if (refused > 0) process.stdout.write('in CI no test may be skipped\n')
  }
  const groups = isShared ? group(files) : files.map((file) => [file])
  await Promise.all(groups.map((one, number) => pool(() => runGroup(one, number))))
  showTop('the slowest', times, ({ seconds }) => seconds)
  showTop('the most processor time', times, ({ cpuSeconds }) => cpuSeconds)
  const cpuSeconds = times.reduce((sum, one) => sum + one.cpuSeconds, 0)
  process.stdout.write(`processor time of all ${files.length} files: ${cpuSeconds.toFixed(0)} s\n`)
  return counts
}

function showTop(title, times, valueOf) {
  const top = [...times].sort((a, b) => valueOf(b) - valueOf(a)).slice(0, TOP_SHOWN)
  const texts = top.map((one) => `${one.file.split(' ')[0]} ${valueOf(one).toFixed(0)} s`)
  process.stdout.write(`${title}: ${texts.join(', ')}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const files = findTests(process.argv.slice(2).filter((word) => word !== '--shared'))
  if (files.length === 0) throw new Error('there is no such test')
  const isShared = process.argv.includes('--shared')
  const { passed, failed } = await runTests({ files, pool: createPool(WIDTH), isShared })
  process.stdout.write(`${passed} passed, ${failed} failed\n`)
  process.exitCode = failed === 0 ? 0 : 1
}
