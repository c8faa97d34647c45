/** Writes configurations to a folder, and returns the errors from loading them. */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { Config } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/faults.ts'
import { loadConfig } from '../../src/config/load.ts'

/** A configuration that contains only the settings that have no default. */
export const SMALLEST = `
listener: { tls: { certificate: server.crt, privateKey: server.key } }
keyStores: [{ name: demo }]
store: { path: latchkey.db, masterKey: { file: master.key } }
`

export interface ConfigFolder {
  readonly folder: string
  readonly file: string
  load(text: string, environment?: NodeJS.ProcessEnv): Promise<Config>
  /** Returns a configuration's errors as `path: message`. @throws if there are none */
  faults(text: string, environment?: NodeJS.ProcessEnv): Promise<readonly string[]>
}

export async function configFolder(t: Test): Promise<ConfigFolder> {
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-config-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const file = join(folder, 'latchkey.yaml')
  const load = async (text: string, environment: NodeJS.ProcessEnv = {}) => {
    await writeFile(file, text)
    return loadConfig(file, environment)
  }
  return {
    folder,
    file,
    load,
    async faults(text, environment) {
      const error = await load(text, environment).then(
        () => undefined,
        (thrown: unknown) => thrown,
      )
      if (!(error instanceof ConfigError)) throw new TypeError('no ConfigError', { cause: error })
      return error.faults.map(({ path, message }) => `${path}: ${message}`)
    },
  }
}
