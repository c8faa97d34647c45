/** Tests on real threads that only those in the background get a lower priority. */
// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs'
import { getPriority } from 'node:os'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { lowerCompilerPriority } from '../../../src/core/thread-priority.ts'

const skip = process.platform === 'linux' ? false : 'other systems have one priority for a process'
const NICE = 5

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
  t.ok(added(before, after).includes(Math.max(own, NICE)))
  for (const [id, nice] of before) if (after.has(id)) t.equal(after.get(id), nice)
  await worker.terminate()
})

void t.test("V8's own threads get a lower priority", { skip }, (t) => {
  const isCompiler = (id: number) =>
    readFileSync(`/proc/self/task/${String(id)}/comm`, 'utf8').trim() === 'V8Worker'
  const before = niceValues()
  lowerCompilerPriority()
  let compilers = 0
  for (const [id, nice] of niceValues()) {
    if (!isCompiler(id)) t.equal(nice, before.get(id) ?? nice)
    else {
      compilers += 1
      t.equal(nice, Math.max(before.get(id) ?? 0, NICE))
    }
  }
  const [major = 0] = process.versions.node.split('.').map(Number)
  t.equal(compilers > 0, major >= 24, 'Node.js 24 and later name these threads')
  t.end()
})
