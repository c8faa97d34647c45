/** Child process that runs test files against one mutant after another, and reports which mutants were detected. */
// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events'
import { register } from 'node:module'
import { Worker } from 'node:worker_threads'
import { Test } from 'tap'
import type { Loaded } from './hooks.ts'

export interface Work extends Loaded {
  /** URLs of the test files. At least one must fail for a mutant to be detected. */
  readonly tests: readonly string[]
  /** Index of the first mutant to run. */
  readonly from: number
}

/** Result for one mutant. */
export interface Verdict {
  readonly mutant: number
  readonly isNoticed: boolean
}

declare global {
  /** Value that `import t from 'tap'` yields in the current mutant's modules. */
  var tapOfMutant: unknown
}

/** Returns whether the test files pass. Assertions go to a separate tap instance that stops at the first failure. */
async function survives(tests: readonly string[], mutant: number): Promise<boolean> {
  const all = new Test({ name: `mutant ${String(mutant)}`, bail: true })
  all.on('data', () => undefined)
  const ended = once(all, 'end')
  const broken = new Promise<boolean>((resolve) => {
    breakOff = () => {
      resolve(false)
    }
  })
  globalThis.tapOfMutant = all
  const run = async () => {
    for (const test of tests) await import(`${test}?mutant=${String(mutant)}`)
    all.end()
    await ended
    return all.passing()
  }
  return Promise.race([run().catch(() => false), broken])
}

/** Ends the current mutant's run after an exception outside any promise. */
let breakOff: () => void = () => undefined
process.on('uncaughtException', () => {
  breakOff()
})
process.on('unhandledRejection', () => {
  breakOff()
})

process.once('message', (message) => {
  const work = message as Work
  const turn = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  const watchdog = new Worker(new URL('./watchdog.js', import.meta.url), {
    workerData: turn.buffer,
  })
  register('./hooks.js', import.meta.url, { data: work satisfies Loaded })
  void (async () => {
    for (let mutant = work.from; mutant < work.texts.length; mutant++) {
      turn[0] = mutant
      const verdict: Verdict = { mutant, isNoticed: !(await survives(work.tests, mutant)) }
      process.send?.(verdict)
    }
    process.disconnect()
    // A mutant may have left a timer running, so exit explicitly.
    await watchdog.terminate()
    process.exit()
  })()
})
