/** Builds the fault module in test/faults/shim, and wraps a token's module with it. */
// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Test } from 'tap'
import { ROOT } from '../repository.ts'
import { FaultControl } from './fault-control.ts'
import type { TestToken } from './tokens.ts'

const FOLDER = join(ROOT, 'test/faults/shim')
const CACHE = join(ROOT, 'node_modules/.cache/latchkey-test')
const FLAGS = [
  ...['-std=c11', '-O2', '-Wall', '-Wextra', '-Werror', '-fPIC', '-shared', '-fvisibility=hidden'],
  ...['-I/usr/include/p11-kit-1', '-pthread'],
]

let built: Promise<string> | undefined

/**
 * Returns the path to the shared library, and compiles it if its sources have changed.
 * @throws an error that contains gcc's output
 */
export function buildFaultModule(): Promise<string> {
  built ??= build()
  return built
}

async function build(): Promise<string> {
  const sources = readdirSync(FOLDER).filter((name) => /\.[ch]$/.test(name))
  const hash = createHash('sha256').update(FLAGS.join(' '))
  for (const name of sources) hash.update(name).update(readFileSync(join(FOLDER, name)))
  const library = join(CACHE, `fault-module-${hash.digest('hex').slice(0, 16)}.so`)
  if (existsSync(library)) return library
  mkdirSync(CACHE, { recursive: true })
  // Tests run in parallel: each process builds its own copy, and the last rename wins.
  const fresh = `${library}.${String(process.pid)}`
  const files = sources.filter((name) => name.endsWith('.c')).map((name) => join(FOLDER, name))
  await promisify(execFile)('gcc', [...FLAGS, '-o', fresh, ...files, '-ldl'])
  renameSync(fresh, library)
  return library
}

export interface FaultyToken extends TestToken {
  readonly control: FaultControl
}

/** Returns the same token, accessed through the fault module. */
export async function withFaults(t: Test, token: TestToken): Promise<FaultyToken> {
  const module = await buildFaultModule()
  const control = new FaultControl(join(token.folder, 'faults'))
  t.teardown(() => {
    // Clearing the plans releases a process that is hanging.
    control.heal()
    control.close()
  })
  const environment = {
    ...token.environment,
    LATCHKEY_FAULT_MODULE: token.module,
    LATCHKEY_FAULT_CONTROL: control.file,
  }
  return { ...token, module, environment, control }
}
