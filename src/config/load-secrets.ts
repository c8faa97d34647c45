/** Every secret that a configuration names, from where it says. */
// SPDX-License-Identifier: Apache-2.0
import { readFile, stat } from 'node:fs/promises'
import { Secret } from '../core/secret.ts'
import type { MasterKeyConfig } from './config.ts'
import type { Fault } from './faults.ts'
import type { RawConfig, RawSecretSource } from './schema.ts'

export interface Secrets {
  readonly masterKey: MasterKeyConfig
  readonly postgresPassword?: Secret
  /** By the index of the backend, then by that of the token. */
  readonly pins: readonly (readonly Secret[])[]
  /** For modules: without the variables that secrets were read from. */
  readonly environment: Readonly<Record<string, string>>
}

/** @returns `loaded` unless there is a fault */
export async function loadSecrets(
  raw: RawConfig,
  isSound: (section: keyof RawConfig) => boolean,
  absolute: (path: string) => string,
  environment: NodeJS.ProcessEnv,
): Promise<{ readonly faults: readonly Fault[]; readonly loaded?: Secrets }> {
  const faults: Fault[] = []
  const used = new Set<string>()
  const load = async (source: RawSecretSource, path: string): Promise<Secret | undefined> => {
    if (source.env !== undefined) used.add(source.env)
    const result = await loadSecret(toSource(source, absolute), environment)
    if ('secret' in result) return result.secret
    faults.push({ path, message: result.problem })
    return undefined
  }

  const { file, passphrase, pkcs11 } = isSound('store') ? raw.store.masterKey : {}
  const words = passphrase && (await load(passphrase, 'store.masterKey.passphrase'))
  const masterKey: MasterKeyConfig | undefined =
    file !== undefined
      ? { kind: 'file', path: absolute(file) }
      : pkcs11 !== undefined
        ? { kind: 'pkcs11', ...pkcs11 }
        : words && { kind: 'passphrase', passphrase: words }

  const password = isSound('store') ? raw.store.postgres?.password : undefined
  const postgresPassword = password && (await load(password, 'store.postgres.password'))

  const pins: Secret[][] = []
  for (const [i, backend] of (isSound('backends') ? raw.backends : []).entries()) {
    const ofBackend: Secret[] = []
    for (const [j, { pin }] of backend.tokens.entries()) {
      const secret = await load(pin, `backends[${String(i)}].tokens[${String(j)}].pin`)
      if (secret !== undefined) ofBackend.push(secret)
    }
    pins.push(ofBackend)
  }
  if (masterKey === undefined || faults.length > 0) return { faults }
  return {
    faults,
    loaded: {
      ...{ masterKey, pins, environment: without(environment, used) },
      ...(postgresPassword === undefined ? {} : { postgresPassword }),
    },
  }
}

function toSource({ file, env }: RawSecretSource, absolute: (path: string) => string) {
  const source: SecretSource =
    file === undefined ? { kind: 'env', name: env ?? '' } : { kind: 'file', path: absolute(file) }
  return source
}

function without(environment: NodeJS.ProcessEnv, names: ReadonlySet<string>) {
  return Object.fromEntries(
    Object.entries(environment).filter(
      (entry): entry is [string, string] => entry[1] !== undefined && !names.has(entry[0]),
    ),
  )
}

type SecretSource =
  { readonly kind: 'file'; readonly path: string } | { readonly kind: 'env'; readonly name: string }

/** The secret, or a sentence on why there is none. */
type SecretResult = { readonly secret: Secret } | { readonly problem: string }

async function loadSecret(
  source: SecretSource,
  environment: NodeJS.ProcessEnv,
): Promise<SecretResult> {
  if (source.kind === 'env') {
    const value = environment[source.name]
    if (value === undefined || value === '') {
      return { problem: `the environment has no ${source.name}` }
    }
    return { secret: new Secret(value) }
  }
  const found = await stat(source.path).catch(() => undefined)
  if (found === undefined) return { problem: `there is no file ${source.path}` }
  if ((found.mode & 0o077) !== 0) {
    return { problem: `others can read ${source.path}; chmod 600 makes it private` }
  }
  const text = (await readFile(source.path, 'utf8')).replace(/\r?\n$/, '')
  return text === '' ? { problem: `${source.path} is empty` } : { secret: new Secret(text) }
}
