/**
 * Enforces the contract on any backend: a plugin's mistake becomes an error, never a bad
 * ciphertext.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Awaitable } from '../core/deadline.ts'
import type { ExternalKeyId } from '../core/ids.ts'
import { BackendError, toBackendError } from './errors.ts'
import {
  type BackendKey,
  type DecryptRequest,
  type EncryptRequest,
  type KeyBackend,
  type KeyDescription,
  type ManagerHealth,
  type ManagerStatus,
  type SealedBytes,
  type VerifiedEncryption,
  type VerifiedEncryptRequest,
  type VerifiedSealedBytes,
  canVerify,
} from './key-backend.ts'

const TAG_BYTES = 16
const DIGEST_BYTES = 32
const MAX_VERSION = 0xffff_ffff
/** len16, 65,535 bytes of AAD, len8, 20 bytes of metadata. */
const MAX_AAD_BYTES = 2 + 65_535 + 1 + 20
const STATUSES: ReadonlySet<string> = new Set<ManagerStatus>(['ACTIVE', 'DEGRADED', 'UNAVAILABLE'])
const PRINTABLE = /^[\x20-\x7e]{1,256}$/

/**
 * Refuses to use a key against its description, and checks lengths and ranges. It makes no copies
 * and sets no timers, so its cost to a request is negligible.
 */
export function enforceContract(backend: KeyBackend): KeyBackend {
  return {
    get vendor() {
      return backend.vendor
    },
    find: (keyId, deadline) =>
      guard(
        () => backend.find(keyId, deadline),
        (key) => {
          check(key.keyId === keyId, 'the backend returned another key')
          check(isVersion(key.currentVersion), 'the current version is not from 1 to 2^32 - 1')
          return canVerify(key) ? new CheckedVerifyingKey(key, key) : new CheckedKey(key)
        },
      ),
    async health(deadline) {
      try {
        const managers = await backend.health(deadline)
        checkHealth(managers)
        return managers
      } catch (error) {
        throw toBackendError(error)
      }
    },
    close: () => backend.close(),
  }
}

/** Reads the description of the key once, so that every check sees the same values. */
class CheckedKey implements BackendKey {
  readonly keyId: ExternalKeyId
  readonly enabled: boolean
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  readonly currentVersion: number
  readonly createdAt: number | undefined
  readonly #key: BackendKey

  constructor(key: BackendKey) {
    this.keyId = key.keyId
    this.enabled = key.enabled
    this.canEncrypt = key.canEncrypt
    this.canDecrypt = key.canDecrypt
    this.currentVersion = key.currentVersion
    this.createdAt = key.createdAt
    this.#key = key
  }

  encrypt(request: EncryptRequest): Awaitable<SealedBytes> {
    return guard(
      () => {
        checkUsable(this, 'canEncrypt')
        checkInput(request)
        return this.#key.encrypt(request)
      },
      (sealed) => checkSealed(sealed, request),
    )
  }

  decrypt(request: DecryptRequest): Awaitable<Buffer> {
    return guard(
      () => {
        checkUsable(this, 'canDecrypt')
        checkInput(request)
        const { iv, tag } = request
        check(isIv(iv) && tag.length === TAG_BYTES, 'IV or tag has the wrong length')
        return this.#key.decrypt(request)
      },
      (plaintext) => checkPlaintext(plaintext, request),
    )
  }
}

class CheckedVerifyingKey extends CheckedKey implements VerifiedEncryption {
  readonly #verifying: VerifiedEncryption

  constructor(key: BackendKey, verifying: VerifiedEncryption) {
    super(key)
    this.#verifying = verifying
  }

  encryptVerified(request: VerifiedEncryptRequest): Awaitable<VerifiedSealedBytes> {
    return guard(
      () => {
        checkUsable(this, 'canEncrypt')
        checkUsable(this, 'canDecrypt')
        checkInput(request)
        return this.#verifying.encryptVerified(request)
      },
      (sealed) => {
        const hasDigest = sealed.digest?.length === DIGEST_BYTES
        check(hasDigest || request.digestPrefix === undefined, 'the digest does not have 32 bytes')
        return checkSealed(sealed, request)
      },
    )
  }
}

/** Converts every failure, synchronous or not, to a BackendError. */
function guard<T, U>(ask: () => Awaitable<T>, toChecked: (result: T) => U): Awaitable<U> {
  try {
    const result = ask()
    return result instanceof Promise ? guardLater(result, toChecked) : toChecked(result)
  } catch (error) {
    throw toBackendError(error)
  }
}

async function guardLater<T, U>(result: Promise<T>, toChecked: (result: T) => U): Promise<U> {
  try {
    return toChecked(await result)
  } catch (error) {
    throw toBackendError(error)
  }
}

/**
 * The only place that decides whether a key may be used.
 * @throws BackendError KEY_DISABLED, KEY_USAGE
 */
export function checkUsable(key: KeyDescription, direction: 'canEncrypt' | 'canDecrypt'): void {
  if (!key.enabled) throw new BackendError('KEY_DISABLED', 'the key is disabled')
  if (!key[direction]) throw new BackendError('KEY_USAGE', `the key lacks ${direction}`)
}

function checkInput({ version, aad }: EncryptRequest | DecryptRequest): void {
  check(isVersion(version), 'the version is not from 1 to 2^32 - 1')
  check(aad.length <= MAX_AAD_BYTES, 'the AAD is too long')
}

function check(holds: boolean, broken: string): void {
  if (!holds) throw new BackendError('CONTRACT', broken)
}

function isVersion(version: number): boolean {
  return Number.isInteger(version) && version >= 1 && version <= MAX_VERSION
}

function isIv(iv: Buffer): boolean {
  return iv.length === 12 || iv.length === 16
}

function checkSealed<Sealed extends SealedBytes>(
  sealed: Sealed,
  { plaintext }: EncryptRequest,
): Sealed {
  const { ciphertext, iv, tag } = sealed
  const areBuffers = Buffer.isBuffer(ciphertext) && Buffer.isBuffer(iv) && Buffer.isBuffer(tag)
  check(areBuffers, 'ciphertext, IV or tag is not a Buffer')
  check(ciphertext.length === plaintext.length, 'ciphertext and plaintext differ in length')
  check(isIv(iv), 'the IV has neither 12 nor 16 bytes')
  check(tag.length === TAG_BYTES, 'the tag does not have 16 bytes')
  // Catches an HSM that should have written the IV and left the zeros it was given.
  check(!isZero(iv), 'the IV is all zeros')
  return sealed
}

function isZero(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte !== 0) return false
  return true
}

function checkPlaintext(plaintext: Buffer, { ciphertext }: DecryptRequest): Buffer {
  // Another Uint8Array would be serialized as decimal numbers instead of Base64.
  check(Buffer.isBuffer(plaintext), 'the plaintext is not a Buffer')
  check(plaintext.length === ciphertext.length, 'plaintext and ciphertext differ in length')
  return plaintext
}

function checkHealth(managers: readonly ManagerHealth[]): void {
  check(managers.length >= 1 && managers.length <= 10, 'health has no entries, or more than ten')
  for (const { id, model, status } of managers) {
    check(STATUSES.has(status), 'a status is not one of the three')
    check(PRINTABLE.test(id) && PRINTABLE.test(model), 'id or model is not printable ASCII')
  }
}
