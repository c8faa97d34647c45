/**
 * Reads secrets from the source that a configuration names: a file, the environment, or the output
 * of a program.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile, stat } from 'node:fs/promises'
import { runProgram } from '../core/program.ts'
import { Secret } from '../core/secret.ts'
import type { Fault } from './faults.ts'
import type { SecretSource } from './setting.ts'

export interface LoadedSecrets {
  readonly faults: readonly Fault[]
  /** Secrets by the path of their setting. */
  readonly secrets: ReadonlyMap<string, Secret>
  /** The environment for PKCS#11 modules, without the variables that held secrets. */
  readonly environment: Readonly<Record<string, string>>
}

/** @param sources sources of the secrets, by the path of their setting */
export async function loadSecrets(
  sources: ReadonlyMap<string, SecretSource>,
  absolute: (path: string) => string,
  environment: NodeJS.ProcessEnv,
): Promise<LoadedSecrets> {
  const faults: Fault[] = []
  const secrets = new Map<string, Secret>()
  // All secrets are read in parallel, because a program that calls a server may be slow.
  const results = await Promise.all(
    [...sources].map(
      async ([path, source]) => [path, await load(source, absolute, environment)] as const,
    ),
  )
  for (const [path, result] of results) {
    if ('secret' in result) secrets.set(path, result.secret)
    else faults.push({ path, message: result.problem })
  }
  const used = new Set([...sources.values()].map(({ env }) => env))
  const others = Object.entries(environment).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !used.has(entry[0]),
  )
  return { faults, secrets, environment: Object.fromEntries(others) }
}

/** The secret, or a sentence that says why there is none. */
type SecretResult = { readonly secret: Secret } | { readonly problem: string }

async function load(
  { file, env = '', exec }: SecretSource,
  absolute: (path: string) => string,
  environment: NodeJS.ProcessEnv,
): Promise<SecretResult> {
  if (file !== undefined) return fromFile(absolute(file))
  if (exec !== undefined) {
    const result = await runProgram(exec, environment)
    return 'problem' in result ? result : toSecret(result.output, `the output of ${exec[0] ?? ''}`)
  }
  return fromEnvironment(env, environment)
}

function fromEnvironment(name: string, environment: NodeJS.ProcessEnv): SecretResult {
  const value = environment[name]
  if (value === undefined || value === '')
    return { problem: `the environment variable ${name} is not set` }
  return { secret: new Secret(value) }
}

async function fromFile(path: string): Promise<SecretResult> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) return { problem: `${path} does not exist or is not accessible` }
  if ((found.mode & 0o077) !== 0) {
    return { problem: `others can read ${path}; run chmod 600 on it` }
  }
  return toSecret(await readFile(path, 'utf8'), path)
}

function toSecret(contents: string, source: string): SecretResult {
  const text = contents.replace(/\r?\n$/, '')
  // A byte order mark would make a PIN wrong, and each wrong PIN counts towards locking the token.
  if (/^[\ufeff\ufffd]/.test(text))
    return { problem: `${source} begins with a byte order mark; save it as plain UTF-8` }
  return text === '' ? { problem: `${source} is empty` } : { secret: new Secret(text) }
}
