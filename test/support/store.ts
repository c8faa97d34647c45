/** Creates a store in a temporary folder, with functions to open it. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import type { Test } from 'tap'
import { silentLogger } from '../../src/core/logger.ts'
import {
  openSoftwareKeystore,
  type SoftwareKeystore,
  type SoftwareKeystoreDeps,
} from '../../src/keys/software/software-keystore.ts'
import type { KeyStoreName } from '../../src/core/ids.ts'
import { parseKeyStoreName } from '../../src/core/ids.ts'
import type { Row } from '../../src/store/database.ts'
import { createMasterKeyFile } from '../../src/store/master-key.ts'
import { createStore, openStore, type Store, type StoreOptions } from '../../src/store/store.ts'
import { FakeClock } from './fake-clock.ts'

export function keyStoreName(text: string): KeyStoreName {
  const parsed = parseKeyStoreName(text)
  if (parsed === undefined) throw new TypeError(`invalid key store name: ${text}`)
  return parsed
}

export interface StoreFolder {
  readonly options: StoreOptions & { readonly path: string }
  readonly clock: FakeClock
  readonly masterKeyFile: string
  /** Opens the store, and closes it when the test ends. */
  open(more?: Partial<StoreOptions>): Promise<Store>
  keystore(store: Store, more?: Partial<SoftwareKeystoreDeps>): Promise<SoftwareKeystore>
  /** Changes the file behind Latchkey's back. */
  tamper(...statements: readonly string[]): void
  /** Queries the file directly. */
  read(statement: string): readonly Row[]
}

/** Creates a store and closes it. */
export async function storeFolder(t: Test): Promise<StoreFolder> {
  const folder = t.testdir()
  const clock = new FakeClock()
  const masterKeyFile = join(folder, 'master.key')
  await createMasterKeyFile(masterKeyFile)
  const path = join(folder, 'store.db')
  const options: StoreFolder['options'] = {
    path,
    masterKey: { kind: 'file', path: masterKeyFile },
    clock,
  }
  await (await createStore(options)).close()
  return {
    options,
    clock,
    masterKeyFile,
    async open(more = {}) {
      const store = await openStore({ ...options, ...more })
      t.teardown(() => store.close())
      return store
    },
    keystore: (store, more = {}) =>
      openSoftwareKeystore({ store, clock, version: '0', logger: silentLogger, ...more }),
    read(statement) {
      const database = new Sqlite(path, { readonly: true })
      try {
        return database.prepare(statement).all() as Row[]
      } finally {
        database.close()
      }
    },
    tamper(...statements) {
      const database = new Sqlite(path, { timeout: 60_000 })
      try {
        for (const statement of statements) database.exec(statement)
      } finally {
        database.close()
      }
    },
  }
}

export function sha256(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex')
}
