/** KeyBackend on software keys. The hot path waits for nothing. */
// SPDX-License-Identifier: Apache-2.0
import * as crypto from 'node:crypto'
import { type Awaitable, whenThere } from '../../core/awaitable.ts'
import type { Clock } from '../../core/clock.ts'
import { equalBytes } from '../../core/constant-time.ts'
import type { Deadline } from '../../core/deadline.ts'
import type { ExternalKeyId } from '../../core/ids.ts'
import type { Store } from '../../store/store.ts'
import { BackendError, toBackendError } from '../errors.ts'
import type {
  KeyBackend,
  KeyDescription,
  ManagerStatus,
  VerifiedEncryption,
  VerifiedSealedBytes,
} from '../key-backend.ts'
import type { SoftwareKey } from './gcm.ts'
import { checkHealth } from './health-key.ts'
import type { LoadedKey, LoadedVersion } from './snapshot.ts'

export interface SoftwareBackendDeps {
  readonly store: Store
  readonly clock: Clock
  readonly keyStore: string
  /** Product and version, for health. */
  readonly model: string
  /** The keys of this key store as of now; undefined when it has none. @throws BackendError */
  readonly keys: () => ReadonlyMap<string, LoadedKey> | undefined
}

export function createSoftwareBackend(given: SoftwareBackendDeps): KeyBackend & VerifiedEncryption {
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
    describe: (keyId) => describe(deps, keyId),
    encrypt(keyId, version, plaintext, aad, deadline) {
      const loaded = findUsable(deps, keyId, 'canEncrypt', version)
      return whenThere(takeUse(loaded, deadline), () => loaded.key.seal(plaintext, aad))
    },
    encryptVerified(keyId, version, plaintext, aad, deadline, digestPrefix) {
      const loaded = findUsable(deps, keyId, 'canEncrypt', version)
      findUsable(deps, keyId, 'canDecrypt', version)
      return whenThere(takeUse(loaded, deadline), () =>
        sealVerified(loaded.key, deps.clock, plaintext, aad, digestPrefix),
      )
    },
    decrypt: (keyId, sealed, aad) =>
      findUsable(deps, keyId, 'canDecrypt', sealed.version).key.unseal(sealed, aad),
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

function sealVerified(
  key: SoftwareKey,
  clock: Clock,
  plaintext: Buffer,
  aad: Buffer,
  digestPrefix: Buffer | undefined,
): VerifiedSealedBytes {
  const { iv, ciphertext, tag } = key.seal(plaintext, aad)
  // Before it is decrypted: a bit that flips meanwhile must not go unseen.
  const digest = digestPrefix && hash(digestPrefix, iv, ciphertext, tag)
  const sealedAt = clock.monotonic()
  // That it decrypts does not prove that the right bytes were encrypted; that they are equal does.
  if (!equalBytes(key.unseal({ iv, ciphertext, tag }, aad), plaintext)) {
    throw new BackendError('CONTRACT', 'what was encrypted decrypts to other bytes')
  }
  const verifyMs = clock.monotonic() - sealedAt
  return digest ? { iv, ciphertext, tag, digest, verifyMs } : { iv, ciphertext, tag, verifyMs }
}

/** Room for what is hashed; the AAD of a data key has some 100 bytes. Never in use beyond one call. */
const HASHED = Buffer.allocUnsafeSlow(1024)

/** By way of a string of bytes, which costs a third of a hash in a Buffer of its own. */
function hash(...parts: readonly Buffer[]): Buffer {
  const bytes = parts.reduce((sum, part) => sum + part.length, 0)
  const whole = bytes > HASHED.length ? Buffer.concat(parts) : HASHED.subarray(0, bytes)
  if (bytes <= HASHED.length) {
    let end = 0
    for (const part of parts) end += part.copy(HASHED, end)
  }
  return Buffer.from(crypto.hash('sha256', whole, 'binary'), 'latin1')
}

/** One of the key's encryptions; but for the first of a process it is there at once. */
function takeUse({ uses }: LoadedVersion, deadline: Deadline): Awaitable<void> {
  if (uses.tryTake()) return undefined
  return deadline.race(uses.take()).catch((error: unknown) => {
    throw toBackendError(error)
  })
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

function describe(deps: SoftwareBackendDeps, keyId: ExternalKeyId): KeyDescription {
  const { row } = find(deps, keyId)
  return {
    keyId,
    enabled: row.status === 'ENABLED',
    canEncrypt: row.canEncrypt,
    canDecrypt: row.canDecrypt,
    currentVersion: row.currentVersion,
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
