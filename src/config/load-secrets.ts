/** Every secret that a configuration names, from where it says. */
// SPDX-License-Identifier: Apache-2.0
import { readFile, stat } from 'node:fs/promises'
import { Secret } from '../core/secret.ts'
import type { Fault } from './faults.ts'
import type { SecretSource } from './setting.ts'

export interface LoadedSecrets {
  readonly faults: readonly Fault[]
  /** By the paths of their settings. */
  readonly secrets: ReadonlyMap<string, Secret>
  /** For modules: without the variables that secrets were read from. */
  readonly environment: Readonly<Record<string, string>>
}

/** @param sources by the paths of their settings */
export async function loadSecrets(
  sources: ReadonlyMap<string, SecretSource>,
  absolute: (path: string) => string,
  environment: NodeJS.ProcessEnv,
): Promise<LoadedSecrets> {
  const faults: Fault[] = []
  const secrets = new Map<string, Secret>()
  for (const [path, { file, env = '' }] of sources) {
    const result =
      file === undefined ? fromEnvironment(env, environment) : await fromFile(absolute(file))
    if ('secret' in result) secrets.set(path, result.secret)
    else faults.push({ path, message: result.problem })
  }
  const used = new Set([...sources.values()].map(({ env }) => env))
  const others = Object.entries(environment).filter(
    (entry): entry is [string, string] => entry[1] !== undefined && !used.has(entry[0]),
  )
  return { faults, secrets, environment: Object.fromEntries(others) }
}

/** The secret, or a sentence on why there is none. */
type SecretResult = { readonly secret: Secret } | { readonly problem: string }

function fromEnvironment(name: string, environment: NodeJS.ProcessEnv): SecretResult {
  const value = environment[name]
  if (value === undefined || value === '') return { problem: `the environment has no ${name}` }
  return { secret: new Secret(value) }
}

async function fromFile(path: string): Promise<SecretResult> {
  const found = await stat(path).catch(() => undefined)
  if (found === undefined) return { problem: `there is no file ${path}` }
  if ((found.mode & 0o077) !== 0) {
    return { problem: `others can read ${path}; chmod 600 makes it private` }
  }
  const text = (await readFile(path, 'utf8')).replace(/\r?\n$/, '')
  return text === '' ? { problem: `${path} is empty` } : { secret: new Secret(text) }
}
