/** KeyBackend on software keys. The hot path awaits the cipher and nothing else. */
// SPDX-License-Identifier: Apache-2.0
import type { Deadline } from '../../base/deadline.ts'
import type { ExternalKeyId } from '../../base/ids.ts'
import type { Store } from '../../storage/store.ts'
import { BackendError, toBackendError } from '../errors.ts'
import type { KeyBackend, ManagerStatus } from '../key-backend.ts'
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

export function createSoftwareBackend(given: SoftwareBackendDeps): KeyBackend {
  let closed = false
  const checkOpen = () => {
    if (closed) throw new BackendError('UNAVAILABLE', 'the backend is closed')
  }
  const deps: SoftwareBackendDeps = {
    ...given,
    keys: () => {
      checkOpen()
      return given.keys()
    },
  }
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
      if (!loaded.uses.tryTake()) await waitForUse(loaded, deadline)
      return seal(loaded.key, plaintext, aad)
    },
    async decrypt(keyId, sealed, aad) {
      const loaded = findUsable(deps, keyId, 'canDecrypt', sealed.version)
      return unseal(loaded.key, sealed, aad)
    },
    async health(deadline) {
      checkOpen()
      const status = isRefusing(deps) ? 'UNAVAILABLE' : await findStatus(deps.store, deadline)
      return [{ id: deps.store.id, model: deps.model, status }]
    },
    close() {
      closed = true
      return Promise.resolve()
    },
  }
}

async function waitForUse({ uses }: LoadedVersion, deadline: Deadline): Promise<void> {
  try {
    await deadline.race(uses.take())
  } catch (error) {
    throw toBackendError(error)
  }
}

/** A store that is whole again is not served from before it has been reloaded. */
function isRefusing(deps: SoftwareBackendDeps): boolean {
  try {
    deps.keys()
    return false
  } catch {
    return true
  }
}

async function findStatus(store: Store, deadline: Deadline): Promise<ManagerStatus> {
  try {
    return await deadline.race(checkHealth(store))
  } catch (error) {
    throw toBackendError(error)
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
