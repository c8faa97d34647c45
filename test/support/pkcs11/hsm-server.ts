/** Runs `latchkey serve` as a process, with one key store on a token and another on software keys. */
// SPDX-License-Identifier: Apache-2.0
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { stringify } from 'yaml'
import { initializeStore, openAdministration } from '../../../src/app/administration.ts'
import { loadConfig } from '../../../src/config/load.ts'
import { createKmsSideClient, type KmsSideClient } from '../../../src/kms/client/client.ts'
import { startLatchkey, type Running } from '../cli.ts'
import { testPki } from '../pki.ts'
import { PATIENT_CONTROL, keyId, REGION } from '../server.ts'
import { keyStoreName } from '../store.ts'
import { backendYaml } from './backend-config.ts'
import type { TestToken } from './tokens.ts'

/** Ids of the key on the token and of the key in the software key store. */
export const HSM_KEY = 'hsm-key'
export const SOFTWARE_KEY = 'software-key'

export interface HsmServer {
  readonly running: Running
  readonly hsm: KmsSideClient
  readonly software: KmsSideClient
  readonly configFile: string
  readonly folder: string
  /** The admin listener's port, if it is configured. */
  readonly adminPort: number | undefined
}

export interface HsmServerOptions {
  /** Settings for the entry in `backends`. */
  readonly backend?: Readonly<Record<string, unknown>>
  /** Additional sections for latchkey.yaml. */
  readonly config?: Readonly<Record<string, unknown>>
  readonly clientTimeoutMs?: number
}

/** Starts the server. The token must already have the key HSM_KEY. */
export async function startHsmServer(
  t: Test,
  token: TestToken,
  options: HsmServerOptions = {},
): Promise<HsmServer> {
  const folder = await mkdtemp(join(tmpdir(), 'latchkey-hsm-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const pki = await testPki()
  const configFile = join(folder, 'latchkey.yaml')
  await writeFile(
    configFile,
    stringify({
      listener: {
        host: '127.0.0.1',
        port: 0,
        tls: { certificate: pki.certificateFile, privateKey: pki.privateKeyFile },
      },
      backends: [backendYaml(token, options.backend)],
      keyStores: [
        { name: 'hsm', prefix: '/hsm', backend: 'hsm' },
        { name: 'software', prefix: '/software' },
      ],
      store: { path: 'latchkey.db', masterKey: { file: 'master.key' } },
      health: { interval: '1s' },
      control: PATIENT_CONTROL,
      ...options.config,
    }),
  )
  const config = await loadConfig(configFile, {})
  await initializeStore(config)
  const administration = await openAdministration(config)
  const [onHsm, inSoftware] = [keyStoreName('hsm'), keyStoreName('software')]
  await administration
    .keys(inSoftware)
    .createKey({ keyId: keyId(SOFTWARE_KEY), canEncrypt: true, canDecrypt: true })
  const credentials = {
    hsm: await administration.credentials.create(onHsm),
    software: await administration.credentials.create(inSoftware),
  }
  await administration.close()

  const running = startLatchkey(t, ['serve'], { cwd: folder })
  const { port, adminPort } = await listening(running)
  const client = (name: 'hsm' | 'software') => {
    const { accessKeyId, secretAccessKey } = credentials[name]
    const made = createKmsSideClient({
      endpoint: `https://localhost:${String(port)}`,
      uriPath: `/${name}/kms/xks/v1`,
      accessKeyId,
      secretAccessKey,
      region: REGION,
      caFile: pki.caFile,
      timeoutMs: options.clientTimeoutMs ?? 20_000,
    })
    t.teardown(() => made.close())
    return made
  }
  return {
    running,
    hsm: client('hsm'),
    software: client('software'),
    configFile,
    folder,
    adminPort,
  }
}

async function listening(running: Running) {
  const [line] = await running.shows(/^.*"listening".*$/m)
  // From here on, discard the log output, because a soak test writes a gigabyte.
  running.process.stdout?.removeAllListeners('data').resume()
  const portOf = (text: string) => (JSON.parse(text) as { readonly port: number }).port
  // The admin listener logs its own line before this one.
  const [adminLine] = /^.*"admin listener".*$/m.exec(running.stdout()) ?? []
  return { port: portOf(line), adminPort: adminLine === undefined ? undefined : portOf(adminLine) }
}
