/**
 * Runs the model checker: spin turns the model into C, gcc compiles it, and the program visits
 * every state.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ROOT } from './repository.ts'

export interface Search {
  readonly errors: number
  readonly states: number
  /** The longest run, in steps. */
  readonly depth: number
  /** Whether every state was visited: nothing was cut short, hashed away or too deep. */
  readonly isExhaustive: boolean
  /** The first claim that failed, with the depth of the counterexample. */
  readonly violated: string | undefined
  /** Lines of the model that no run reaches, except the ends of endless processes. */
  readonly unreached: readonly string[]
}

/** Spin's message when the model's only claim does not hold. */
export const CLAIM = 'assertion violated  !(revoked)'

const MODEL = join(ROOT, 'docs/internals/model/kill-switch.pml')
const run = promisify(execFile)

/**
 * @param definitions names, or names with values, as for -D: `LEASE=2`
 * @param size a small world is visited faster than an optimized checker compiles
 */
export async function check(
  definitions: readonly string[],
  size: 'large' | 'small',
): Promise<Search> {
  const cwd = await mkdtemp(join(tmpdir(), 'latchkey-model-'))
  try {
    const flags = definitions.map((definition) => `-D${definition}`)
    await run('spin', ['-a', ...flags, MODEL], { cwd })
    // Checks assertions only, and compresses stored states without loss.
    const level = size === 'large' ? '-O2' : '-O0'
    const options = [level, '-w', '-DSAFETY', '-DCOLLAPSE', '-DVECTORSZ=512']
    await run('gcc', [...options, '-o', 'pan', 'pan.c'], { cwd })
    // -m: depth of the search; -w: size of the hash table, which only matters for speed.
    const { stdout } = await run('./pan', ['-m1000000', '-w22'], { cwd, maxBuffer: 1 << 26 })
    return parse(stdout)
  } finally {
    await rm(cwd, { recursive: true, force: true })
  }
}

function parse(output: string): Search {
  const count = (pattern: RegExp) => Number(pattern.exec(output)?.[1] ?? NaN)
  const warnings = /truncated|max search depth too small|search was not completed|out of memory/i
  return {
    errors: count(/errors: (\d+)/),
    depth: count(/depth reached (\d+)/),
    states: count(/^ *(\d+) states, stored/m),
    isExhaustive: /^Full statespace search for:/m.test(output) && !warnings.test(output),
    violated: /^pan:\d+: (.*?)(?: \(at depth \d+\))?$/m.exec(output)?.[1],
    unreached: [...output.matchAll(/^\t.*\.pml:(\d+), state \d+, "(.*)"$/gm)]
      .filter(([, , text]) => text !== '-end-')
      .map(([, line = '', text = '']) => `${line}: ${text}`),
  }
}

/**
 * Returns the names of a kind, `mutant`, `limit` or `reachable`, as the model's own comments mark
 * them.
 */
export async function namesOf(kind: 'mutant' | 'limit' | 'reachable'): Promise<readonly string[]> {
  const text = await readFile(MODEL, 'utf8')
  const found = [...text.matchAll(/^#ifdef (\w+) +\/\* (\w+)/gm)]
  return [...new Set(found.filter(([, , word]) => word === kind).map(([, name = '']) => name))]
}
