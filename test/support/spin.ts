/** Runs the model checker: spin translates the model into C, gcc compiles it, and the program visits every state. */
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
  /** Length of the longest run, in steps. */
  readonly depth: number
  /** Whether the search was exhaustive: no truncation, lossy hashing or depth limit. */
  readonly isExhaustive: boolean
  /** The first violated claim, with the depth of its counterexample. */
  readonly violated: string | undefined
  /** Model lines that no run reaches, except the ends of endless processes. */
  readonly unreached: readonly string[]
}

/** Spin's message if the model's only claim is violated. */
export const CLAIM = 'assertion violated  !(revoked)'

const MODEL = join(ROOT, 'docs/internals/model/kill-switch.pml')
const run = promisify(execFile)

/**
 * @param definitions names, or names with values such as `LEASE=2`, in the format of -D
 * @param size `small` skips optimization, because checking a small model takes less time than compiling an optimized
 * checker
 */
export async function check(
  definitions: readonly string[],
  size: 'large' | 'small',
): Promise<Search> {
  const cwd = await mkdtemp(join(tmpdir(), 'latchkey-model-'))
  try {
    const flags = definitions.map((definition) => `-D${definition}`)
    await run('spin', ['-a', ...flags, MODEL], { cwd })
    // Check only assertions, and compress stored states without loss.
    const level = size === 'large' ? '-O2' : '-O0'
    const options = [level, '-w', '-DSAFETY', '-DCOLLAPSE', '-DVECTORSZ=512']
    await run('gcc', [...options, '-o', 'pan', 'pan.c'], { cwd })
    // -m sets the search depth, and -w the hash table's size, which only affects speed.
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

/** Returns the names marked as `mutant`, `limit` or `reachable` in the model's comments. */
export async function namesOf(kind: 'mutant' | 'limit' | 'reachable'): Promise<readonly string[]> {
  const text = await readFile(MODEL, 'utf8')
  const found = [...text.matchAll(/^#ifdef (\w+) +\/\* (\w+)/gm)]
  return [...new Set(found.filter(([, , word]) => word === kind).map(([, name = '']) => name))]
}
