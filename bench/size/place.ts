/**
 * The folder for one measurement. It contains certificates, a configuration with many key stores, and a filled store.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { toStoreOptions } from '../../src/app/store.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/config.ts'
import { loadBackup, writeBackup } from '../../src/store/backup.ts'
import { openStore } from '../../src/store/store.ts'
import { prepareDemo, readCredential } from '../../src/tools/demo/demo.ts'
import { encryptBody, signedRequest } from '../requests.ts'
import { fill, keyIdOf, type Size } from './fill.ts'
import { POSTGRES_USER, type PostgresServer } from './postgres-server.ts'

export type EngineName = 'sqlite' | 'postgres'

export interface Place {
  readonly folder: string
  readonly configFile: string
  readonly caFile: string
  readonly config: Config
  /** Name of the key store with half of the keys. */
  readonly keyStore: string
  /** Returns signed Encrypt requests that use `keys` different keys of `keyStore` in rotation. */
  sign(keys: number, requests: number): Promise<readonly string[]>
}

const DEADLINE = '200ms'

/**
 * Creates the folder and fills an SQLite store.
 * @param filled folder of a store of this size that an earlier run has kept; it is copied instead
 */
export async function prepareSqlite(folder: string, size: Size, filled?: string): Promise<Place> {
  if (filled !== undefined) await cp(filled, folder, { recursive: true })
  const demo = await prepareDemo(folder, 0)
  if (filled === undefined) {
    const names = Array.from({ length: size.keyStores - 1 }, (_, i) => `more-${String(i + 1)}`)
    const lines = names.map((name) => `  - { name: ${name}, prefix: /${name} }`)
    const text = readFileSync(demo.configFile, 'utf8')
      .replace(/^( +prefix: \/demo)$/m, ['$1', ...lines].join('\n'))
      .concat(`limits: { requestDeadline: ${DEADLINE} }\n`)
    writeFileSync(demo.configFile, text)
    await fill(await loadConfig(demo.configFile), size)
  }
  const config = await loadConfig(demo.configFile)
  const signer = await readCredential(demo)
  return {
    ...{ folder, configFile: demo.configFile, caFile: demo.caFile, config, keyStore: 'demo' },
    sign: (keys, requests) =>
      Promise.resolve(
        Array.from({ length: requests }, (_, i) => {
          const keyId = keyIdOf(2 * (i % keys))
          return signedRequest(`/keys/${keyId}/encrypt`, encryptBody(), { ...signer, keyId })
        }),
      ),
  }
}

/** Copies an SQLite store to a new database on the PostgreSQL server. */
export async function copyToPostgres(
  place: Place,
  server: PostgresServer,
  database: string,
): Promise<Place> {
  await server.query(`CREATE DATABASE ${database} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0`)
  const lines = [
    '  postgres:',
    '    host: 127.0.0.1',
    `    port: ${String(server.port)}`,
    `    database: ${database}`,
    `    user: ${POSTGRES_USER}`,
    '    tls: { mode: off }',
  ]
  const text = readFileSync(place.configFile, 'utf8').replace(/^ {2}path: .*$/m, lines.join('\n'))
  const configFile = join(place.folder, 'postgres.yaml')
  writeFileSync(configFile, text)
  const config = await loadConfig(configFile)
  const backup = join(place.folder, 'copy.jsonl')
  const source = await openStore(await toStoreOptions(place.config))
  try {
    await writeBackup(source, backup, { createdAt: Date.now(), release: 'benchmark' })
  } finally {
    await source.close()
  }
  await loadBackup(backup, await toStoreOptions(config))
  rmSync(backup)
  await server.query('ANALYZE', database)
  return { ...place, configFile, config }
}
