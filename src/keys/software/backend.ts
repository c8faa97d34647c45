/** KeyBackend for software keys. The request path never awaits. */
// SPDX-License-Identifier: Apache-2.0
import * as crypto from 'node:crypto'
import type { Clock } from '../../core/clock.ts'
import { equalBytes } from '../../core/constant-time.ts'
import type { Awaitable, Deadline } from '../../core/deadline.ts'
import type { ExternalKeyId } from '../../core/ids.ts'
import type { Store } from '../../store/store.ts'
import { BackendError, toBackendError } from '../errors.ts'
import type {
  BackendKey,
  DecryptRequest,
  EncryptRequest,
  KeyBackend,
  ManagerStatus,
  SealedBytes,
  VerifiedEncryption,
  VerifiedEncryptRequest,
  VerifiedSealedBytes,
} from '../key-backend.ts'
import type { SoftwareKey } from './gcm.ts'
import type { LoadedKey, LoadedVersion } from './snapshot.ts'
import { takeUse } from './use-counter.ts'

export interface SoftwareBackendDeps {
  readonly store: Store
  readonly clock: Clock
  readonly keyStore: string
  /** Product and version, shown in health reports. */
  readonly model: string
  /** Checks the store once for all key stores. */
  readonly checkHealth: () => Promise<ManagerStatus>
  /** Returns the current keys of this key store; undefined if it has none. @throws BackendError */
  readonly keys: () => ReadonlyMap<string, LoadedKey> | undefined
}

export function createSoftwareBackend(deps: SoftwareBackendDeps): KeyBackend {
  let closed = false
  const checkOpen = () => {
    if (closed) throw new BackendError('UNAVAILABLE', 'the backend is closed')
  }
  return {
    vendor: 'Latchkey',
    find(keyId) {
      checkOpen()
      const loaded = deps.keys()?.get(keyId)
      if (loaded === undefined) throw new BackendError('KEY_NOT_FOUND', 'there is no such key')
      return new FoundKey(keyId, loaded, deps.clock)
    },
    async health(deadline) {
      checkOpen()
      const status = isRefusing(deps.keys)
        ? 'UNAVAILABLE'
        : await findStatus(deps.checkHealth, deadline)
      return [{ id: deps.store.id, model: deps.model, status }]
    },
    close() {
      closed = true
      return Promise.resolve()
    },
  }
}

class FoundKey implements BackendKey, VerifiedEncryption {
  readonly keyId: ExternalKeyId
  readonly enabled: boolean
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  readonly currentVersion: number
  readonly createdAt: number
  readonly #versions: LoadedKey['versions']
  readonly #clock: Clock

  constructor(keyId: ExternalKeyId, { row, versions }: LoadedKey, clock: Clock) {
    this.keyId = keyId
    this.enabled = row.status === 'ENABLED'
    this.canEncrypt = row.canEncrypt
    this.canDecrypt = row.canDecrypt
    this.currentVersion = row.currentVersion
    this.createdAt = row.createdAt
    this.#versions = versions
    this.#clock = clock
  }

  encrypt(request: EncryptRequest): Awaitable<SealedBytes> {
    const version = this.#find(request.version)
    const { uses } = version
    const seal = () => version.withKey((key) => key.seal(request))
    return uses.tryTake() ? seal() : takeUse(uses, request.deadline).then(seal)
  }

  encryptVerified(request: VerifiedEncryptRequest): Awaitable<VerifiedSealedBytes> {
    const version = this.#find(request.version)
    const { uses } = version
    const seal = () => version.withKey((key) => sealVerified(key, this.#clock, request))
    return uses.tryTake() ? seal() : takeUse(uses, request.deadline).then(seal)
  }

  decrypt(request: DecryptRequest): Awaitable<Buffer> {
    return this.#find(request.version).withKey((key) => key.unseal(request))
  }

  #find(version: number): LoadedVersion {
    const loaded = this.#versions.get(version)
    if (loaded === undefined) throw new BackendError('VERSION_NOT_FOUND', 'no such key version')
    return loaded
  }
}

function sealVerified(
  key: SoftwareKey,
  clock: Clock,
  request: VerifiedEncryptRequest,
): VerifiedSealedBytes {
  const { plaintext, aad, digestPrefix } = request
  const { iv, ciphertext, tag } = key.seal(request)
  // Computes the hash before decrypting; otherwise a bit flip in between would go unnoticed.
  const digest = digestPrefix && hash(digestPrefix, iv, ciphertext, tag)
  const sealedAt = clock.monotonic()
  // Successful decryption does not prove that the right bytes were encrypted; comparing them does.
  if (!equalBytes(key.unseal({ iv, ciphertext, tag, aad }), plaintext)) {
    throw new BackendError('CONTRACT', 'the ciphertext decrypted to different bytes')
  }
  const verifyMs = clock.monotonic() - sealedAt
  return { iv, ciphertext, tag, digest, verifyMs }
}

function hash(...parts: readonly Buffer[]): Buffer {
  return crypto.hash('sha256', Buffer.concat(parts), 'buffer')
}

/**
 * After damage to the store, keys are served again only once the store is intact and has been
 * reloaded.
 */
function isRefusing(keys: SoftwareBackendDeps['keys']): boolean {
  try {
    keys()
    return false
  } catch {
    return true
  }
}

async function findStatus(
  checkHealth: SoftwareBackendDeps['checkHealth'],
  deadline: Deadline,
): Promise<ManagerStatus> {
  try {
    return await deadline.race(checkHealth())
  } catch (error) {
    throw toBackendError(error)
  }
}
