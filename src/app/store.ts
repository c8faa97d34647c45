/** Converts the configuration of the store to the options for opening it. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock as clock } from '../core/clock.ts'
import type { Config, Pkcs11BackendConfig } from '../config/config.ts'
import type { MasterKeySource } from '../store/master-key.ts'
import type { StoreOptions } from '../store/store.ts'

/** @param how options that depend on what the store is used for */
export async function toStoreOptions(
  config: Config,
  how: Pick<StoreOptions, 'connections' | 'requiresUtf8' | 'isCommand' | 'onFault'> = {},
): Promise<StoreOptions> {
  return { ...config.store, ...how, masterKey: await toMasterKeySource(config), clock }
}

/** A token's module is loaded only if the master key is on a token. */
async function toMasterKeySource(config: Config): Promise<MasterKeySource> {
  const { masterKey } = config.store
  if (masterKey.kind !== 'pkcs11') return masterKey
  const backend = config.backends.find(({ name }) => name === masterKey.backend)
  if (backend === undefined)
    throw new TypeError('store.masterKey names a backend that is not configured')
  return toTokenSource(backend, masterKey.label)
}

/** Returns the source for a master key that is a key on a token. */
export async function toTokenSource(
  backend: Pkcs11BackendConfig,
  label: string,
): Promise<MasterKeySource> {
  const { createTokenMasterKey } = await import('../keys/pkcs11/master-key.ts')
  return { kind: 'pkcs11', key: createTokenMasterKey({ config: backend, clock }, label) }
}
