/** Tests on real threads that only those in the background get a lower priority. */
// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs'
import { getPriority } from 'node:os'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { lowerCompilerPriority } from '../../../src/core/thread-priority.ts'

const skip = process.platform === 'linux' ? false : 'other systems have one priority for a process'
const STEP = 5

/** Returns the nice values of this process's threads by thread id. */
function niceValues(): Map<number, number> {
  const ids = readdirSync('/proc/self/task').map(Number)
  return new Map(ids.map((id) => [id, getPriority(id)]))
}

function added(before: Map<number, number>, after: Map<number, number>): number[] {
  return [...after].flatMap(([id, nice]) => (before.has(id) ? [] : [nice]))
}

void t.test('a thread lowers its own priority and no other', { skip }, async (t) => {
  const own = getPriority()
  const before = niceValues()
  const module = new URL('../../../src/core/thread-priority.js', import.meta.url).href
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads')
    void import(${JSON.stringify(module)}).then(({ lowerOwnPriority }) => {
      lowerOwnPriority()
      parentPort.postMessage('lowered')
      parentPort.once('message', () => parentPort.close())
    })`,
    { eval: true },
  )
  const error = new Promise((resolve, reject) =>
    worker.once('message', resolve).once('error', reject),
  )
  t.equal(await error, 'lowered')
  const after = niceValues()
  t.ok(added(before, after).includes(own + STEP))
  for (const [id, nice] of before) if (after.has(id)) t.equal(after.get(id), nice)
  await worker.terminate()
})

const isCompiler = (id: number) =>
  readFileSync(`/proc/self/task/${String(id)}/comm`, 'utf8').trim() === 'V8Worker'

void t.test(
  "V8's own threads get a lower priority if they do not collect garbage",
  { skip },
  (t) => {
    const { execArgv } = process
    t.teardown(() => (process.execArgv = execArgv))
    for (const [flags, step] of [
      [[], 0],
      [['--single-threaded-gc'], STEP],
    ] as const) {
      const before = niceValues()
      process.execArgv = [...flags]
      lowerCompilerPriority()
      for (const [id, nice] of before) {
        const now = niceValues().get(id)
        if (now !== undefined)
          t.equal(now, nice + (isCompiler(id) ? step : 0), `thread ${String(id)}`)
      }
    }
    // Node.js 20 does not name its threads, so nothing is lowered there.
    const [major = 0] = process.versions.node.split('.').map(Number)
    if (major >= 24) t.ok([...niceValues().keys()].some(isCompiler))
    t.end()
  },
)
