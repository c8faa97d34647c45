/** Secrets come from files or the environment, never from the configuration file or the command line. */
// SPDX-License-Identifier: Apache-2.0
import { readFile, stat } from 'node:fs/promises'
import { Secret } from '../core/secret.ts'

export type SecretSource =
  { readonly kind: 'file'; readonly path: string } | { readonly kind: 'env'; readonly name: string }

/** The secret, or a sentence on why there is none. */
export type SecretResult = { readonly secret: Secret } | { readonly problem: string }

export async function loadSecret(
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
