/** The parts that the CLI works with: the same store as the server's, and no listener. */
// SPDX-License-Identifier: Apache-2.0
import { access } from 'node:fs/promises'
import { loadCredentialUses } from '../usage/usage-table.ts'
import type { CredentialUse } from '../usage/tally.ts'
import type { KeyAdministration } from '../keys/administration.ts'
import { openSoftwareKeystore } from '../keys/software/software-keystore.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { KeyStoreName } from '../core/ids.ts'
import { createTokenAdministrations } from './compose-token-administration.ts'
import { toStoreOptions } from './store.ts'
import type { Config } from '../config/config.ts'
import { createRotationRecords, type RotationRecords } from '../sigv4/rotation-record.ts'
import { VERSION as version } from '../openapi/document.gen.ts'
import { createCredentialTable, type CredentialTable } from '../sigv4/credential-table.ts'
import { StorageError } from '../store/database.ts'
import { createEngine } from '../store/engine.ts'
import { createMasterKeyFile } from '../store/master-key.ts'
import { createStore, openStore, type Store } from '../store/store.ts'

export interface Administration {
  keys(keyStore: KeyStoreName): KeyAdministration
  readonly credentials: CredentialTable
  /** By access key id, over the whole fleet; one that was never used is not there. */
  credentialUses(): Promise<ReadonlyMap<string, CredentialUse>>
  readonly rotations: RotationRecords
  close(): Promise<void>
}

/** Changes that are made here reach running servers by the store's epoch. @throws StorageError */
export async function openAdministration(config: Config): Promise<Administration> {
  const store = await openStore(await toStoreOptions(config))
  try {
    const keystore = await openKeystore(store)
    const tokens = createTokenAdministrations(config, store)
    return {
      keys: (keyStore) => tokens.of(keyStore) ?? keystore.administration(keyStore),
      credentials: createCredentialTable(store, clock),
      credentialUses: () => store.database.snapshot(loadCredentialUses),
      rotations: createRotationRecords(store),
      async close() {
        await tokens.close()
        await keystore.close()
        await store.close()
      },
    }
  } catch (error) {
    await store.close()
    throw error
  }
}

/**
 * Makes the master key file where one is configured and absent, and a new store with nothing but
 * its test key. @throws StorageError STORE_EXISTS
 */
export async function initializeStore(config: Config): Promise<void> {
  const { masterKey } = config.store
  // Before the master key: a new one beside an old store would only confuse.
  if (await storeExists(config)) {
    const where = config.store.path ?? config.store.postgres?.host ?? ''
    throw new StorageError('STORE_EXISTS', `${where}: there is a store already`)
  }
  if (masterKey.kind === 'file' && !(await exists(masterKey.path))) {
    await createMasterKeyFile(masterKey.path)
  }
  const store = await createStore(await toStoreOptions(config))
  try {
    await (await openKeystore(store)).close()
  } finally {
    await store.close()
  }
}

/** @throws StorageError when a server has to be asked and does not answer */
export function storeExists(config: Config): Promise<boolean> {
  return createEngine(config.store).exists()
}

function openKeystore(store: Store) {
  return openSoftwareKeystore({ store, clock, version, warn: () => undefined })
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}
