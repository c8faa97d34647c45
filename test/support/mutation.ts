/** Runs a test file against a program with one line changed, and says whether it noticed. */
// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'

/** A place in the built module and what stands there instead. */
export interface Mutant {
  /** What goes wrong, as a sentence. */
  readonly name: string
  /** Must occur exactly once. */
  readonly from: string
  readonly to: string
}

export interface Mutation {
  /** Below src/, as built: `sigv4/verify.js`. */
  readonly module: string
  /** Below test/, as built, of which one at least must fail. */
  readonly tests: readonly string[]
  readonly mutants: readonly Mutant[]
}

const BUILD = new URL('../../', import.meta.url)
const HOOKS = new URL('./mutation-register.js', import.meta.url)
const AT_ONCE = 2

/** Whether the test file passes with this text in place of the module's. */
function passes(test: string, module: string, text: string): Promise<boolean> {
  const child = spawn(
    process.execPath,
    ['--import', HOOKS.href, fileURLToPath(new URL(`test/${test}`, BUILD))],
    {
      stdio: ['ignore', 'ignore', 'ignore'],
      env: {
        PATH: process.env['PATH'] ?? '',
        // One failure is enough.
        TAP_BAIL: '1',
        MUTATED_MODULE: new URL(`src/${module}`, BUILD).href,
        MUTATED_TEXT: text,
      },
    },
  )
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code) => {
      resolve(code === 0)
    })
  })
}

async function survives(text: string, { module, tests }: Mutation): Promise<boolean> {
  for (const test of tests) if (!(await passes(test, module, text))) return false
  return true
}

/** Every mutant must be noticed, and the module as it is must not. */
export async function killAll(t: Test, mutation: Mutation): Promise<void> {
  const source = readFileSync(new URL(`src/${mutation.module}`, BUILD), 'utf8')
  t.ok(await survives(source, mutation), 'unchanged, it passes')
  const waiting = [...mutation.mutants]
  const worker = async () => {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      const { name, from, to } = mutant
      const places = source.split(from).length - 1
      t.equal(places, 1, `${name}: ${from} is there once`)
      if (places === 1) {
        // A function, since "$" has a meaning in a text.
        const mutated = source.replace(from, () => to)
        t.notOk(await survives(mutated, mutation), `a test notices: ${name}`)
      }
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}
