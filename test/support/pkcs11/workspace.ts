/** Creates a folder with a latchkey.yaml whose only key store is on a token. */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { latchkeyHere } from '../cli.ts'
import { testPki } from '../pki.ts'
import { backendYaml } from './backend-config.ts'
import type { TestToken } from './tokens.ts'

export interface TokenWorkspaceOptions {
  readonly backend?: Readonly<Record<string, unknown>>
  readonly keyStore?: Readonly<Record<string, unknown>>
  readonly masterKey?: Readonly<Record<string, unknown>>
}

/** Creates the folder and, using `init`, the store. `run` runs a command in this process. */
export async function workspaceOn(t: Test, token: TestToken, options: TokenWorkspaceOptions = {}) {
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-pkcs11-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const pki = await testPki()
  const configure = (more: TokenWorkspaceOptions) =>
    writeFile(
      join(folder, 'latchkey.yaml'),
      stringify({
        listener: {
          host: '127.0.0.1',
          port: 0,
          tls: { certificate: pki.certificateFile, privateKey: pki.privateKeyFile },
        },
        backends: [backendYaml(token, { deadlines: { start: '60s' }, ...more.backend })],
        keyStores: [{ name: 'demo', prefix: '/demo', backend: 'hsm', ...more.keyStore }],
        store: { path: 'latchkey.db', masterKey: more.masterKey ?? { file: 'master.key' } },
      }),
    )
  await configure(options)
  const environment = {
    PATH: process.env['PATH'] ?? '',
    LATCHKEY_CONFIG: join(folder, 'latchkey.yaml'),
  }
  const run = (...words: readonly string[]) => latchkeyHere(words, environment)
  const init = await run('init')
  t.equal(init.code, 0, init.stderr)
  return { folder, run, configure }
}
