/** KeyBackend on software keys. The hot path awaits the cipher and nothing else. */
// SPDX-License-Identifier: Apache-2.0
import type { ExternalKeyId } from '../../base/ids.ts'
import type { Store } from '../../storage/store.ts'
import { BackendError } from '../errors.ts'
import type { KeyBackend } from '../key-backend.ts'
import { seal, unseal } from './gcm.ts'
import { checkHealth } from './health-key.ts'
import type { LoadedKey, LoadedVersion } from './snapshot.ts'

export interface SoftwareBackendDeps {
  readonly store: Store
  readonly keyStore: string
  /** Product and version, for health. */
  readonly model: string
  /** The keys of this key store as of now; undefined when it has none. @throws BackendError */
  readonly keys: () => ReadonlyMap<string, LoadedKey> | undefined
}

export function createSoftwareBackend(deps: SoftwareBackendDeps): KeyBackend {
  return {
    vendor: 'Latchkey',
    // eslint-disable-next-line @typescript-eslint/require-await -- rejections, not exceptions, are the contract
    async describe(keyId) {
      const { row } = find(deps, keyId)
      return {
        keyId,
        enabled: row.status === 'ENABLED',
        canEncrypt: row.canEncrypt,
        canDecrypt: row.canDecrypt,
        currentVersion: row.currentVersion,
      }
    },
    async encrypt(keyId, version, plaintext, aad, deadline) {
      const loaded = findUsable(deps, keyId, 'canEncrypt', version)
      if (!loaded.uses.tryTake()) await deadline.race(loaded.uses.take())
      return seal(loaded.key, plaintext, aad)
    },
    async decrypt(keyId, sealed, aad) {
      const loaded = findUsable(deps, keyId, 'canDecrypt', sealed.version)
      return unseal(loaded.key, sealed, aad)
    },
    async health(deadline) {
      deps.keys()
      const status = await deadline.race(checkHealth(deps.store))
      return [{ id: deps.store.id, model: deps.model, status }]
    },
    close: () => Promise.resolve(),
  }
}

function find(deps: SoftwareBackendDeps, keyId: ExternalKeyId): LoadedKey {
  const loaded = deps.keys()?.get(keyId)
  if (loaded === undefined) throw new BackendError('KEY_NOT_FOUND', 'there is no such key')
  return loaded
}

function findUsable(
  deps: SoftwareBackendDeps,
  keyId: ExternalKeyId,
  direction: 'canEncrypt' | 'canDecrypt',
  version: number,
): LoadedVersion {
  const { row, versions } = find(deps, keyId)
  if (row.status !== 'ENABLED') throw new BackendError('KEY_DISABLED', 'the key is disabled')
  if (!row[direction]) throw new BackendError('KEY_USAGE', `the key lacks ${direction}`)
  const loaded = versions.get(version)
  if (loaded === undefined) throw new BackendError('VERSION_NOT_FOUND', 'no such key version')
  return loaded
}
