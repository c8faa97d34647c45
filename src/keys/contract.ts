/**
 * Enforces the contract of KeyBackend on every backend, so that a plugin's mistake becomes an error
 * and never a bad ciphertext.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Awaitable } from '../core/deadline.ts'
import type { ExternalKeyId } from '../core/ids.ts'
import { BackendError, toBackendError } from './errors.ts'
import {
  type BackendKey,
  type DateState,
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
/**
 * Maximum length of the AAD in bytes: a 2-byte length, up to 65,535 bytes of KMS's AAD, a 1-byte
 * length, and up to 20 bytes of metadata.
 */
const MAX_AAD_BYTES = 2 + 65_535 + 1 + 20
const STATUSES: ReadonlySet<string> = new Set<ManagerStatus>(['ACTIVE', 'DEGRADED', 'UNAVAILABLE'])
const PRINTABLE = /^[\x20-\x7e]{1,256}$/

/**
 * Refuses uses that a key's description does not allow, and checks lengths and ranges. It makes no
 * copies and sets no timers, so its cost to a request is negligible.
 * @param dateStateOf returns the state that the dates in the control store give a key now (default:
 * none)
 */
export function enforceContract(
  backend: KeyBackend,
  dateStateOf: (keyId: ExternalKeyId) => DateState | undefined = () => undefined,
): KeyBackend {
  return {
    get vendor() {
      return backend.vendor
    },
    find: (keyId, deadline) =>
      guard(
        () => backend.find(keyId, deadline),
        (key) => {
          check(key.keyId === keyId, 'the backend returned a different key')
          checkVersion(key.currentVersion)
          const dateState = dateStateOf(keyId)
          return canVerify(key)
            ? new CheckedVerifyingKey(key, dateState, key)
            : new CheckedKey(key, dateState)
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
  readonly dateState: DateState | undefined
  readonly #key: BackendKey

  constructor(key: BackendKey, dateState: DateState | undefined) {
    this.dateState = dateState
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
        checkIv(request.iv)
        checkLength(request.tag, TAG_BYTES, 'a tag')
        return this.#key.decrypt(request)
      },
      (plaintext) => checkPlaintext(plaintext, request),
    )
  }
}

class CheckedVerifyingKey extends CheckedKey implements VerifiedEncryption {
  readonly #verifying: VerifiedEncryption

  constructor(key: BackendKey, dateState: DateState | undefined, verifying: VerifiedEncryption) {
    super(key, dateState)
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
        if (request.digestPrefix !== undefined) checkLength(sealed.digest, DIGEST_BYTES, 'a digest')
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
 * This is the only place that decides whether a key may be used.
 * @throws BackendError KEY_DISABLED, KEY_NOT_ACTIVE, KEY_DEACTIVATED, KEY_USAGE
 */
export function checkUsable(key: KeyDescription, direction: 'canEncrypt' | 'canDecrypt'): void {
  if (!key.enabled) throw new BackendError('KEY_DISABLED', 'the key is disabled')
  if (key.dateState === 'PRE_ACTIVE') {
    throw new BackendError('KEY_NOT_ACTIVE', 'the activation date of the key has not been reached')
  }
  if (key.dateState === 'DEACTIVATED' && direction === 'canEncrypt') {
    throw new BackendError('KEY_DEACTIVATED', 'the deactivation date of the key has been reached')
  }
  if (!key[direction]) throw new BackendError('KEY_USAGE', `the key does not allow ${direction}`)
}

function checkInput({ version, aad }: EncryptRequest | DecryptRequest): void {
  checkVersion(version)
  if (aad.length > MAX_AAD_BYTES) {
    throw broken(
      `expected AAD of at most ${String(MAX_AAD_BYTES)} bytes, found ${String(aad.length)}`,
    )
  }
}

function check(holds: boolean, message: string): void {
  if (!holds) throw broken(message)
}

function broken(message: string): BackendError {
  return new BackendError('CONTRACT', message)
}

function checkVersion(version: number): void {
  if (Number.isInteger(version) && version >= 1 && version <= MAX_VERSION) return
  throw broken(`expected a version from 1 to 2^32 - 1, found ${String(version)}`)
}

function checkIv(iv: Buffer): void {
  if (iv.length === 12 || iv.length === 16) return
  throw broken(`expected an IV of 12 or 16 bytes, found ${String(iv.length)}`)
}

function checkLength(bytes: Buffer | undefined, expected: number, what: string): void {
  if (bytes?.length === expected) return
  throw broken(`expected ${what} of ${String(expected)} bytes, found ${String(bytes?.length ?? 0)}`)
}

function checkSealed<Sealed extends SealedBytes>(
  sealed: Sealed,
  { plaintext }: EncryptRequest,
): Sealed {
  const { ciphertext, iv, tag } = sealed
  const areBuffers = Buffer.isBuffer(ciphertext) && Buffer.isBuffer(iv) && Buffer.isBuffer(tag)
  check(areBuffers, 'expected ciphertext, IV and tag to be Buffers')
  checkLength(ciphertext, plaintext.length, 'a ciphertext')
  checkIv(iv)
  checkLength(tag, TAG_BYTES, 'a tag')
  // Detect an HSM that should have written the IV but left the zeros that it was given.
  check(!isZero(iv), 'the IV is all zeros')
  return sealed
}

function isZero(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte !== 0) return false
  return true
}

function checkPlaintext(plaintext: Buffer, { ciphertext }: DecryptRequest): Buffer {
  // Require a Buffer, because any other Uint8Array would be serialized as decimal numbers instead
  // of Base64.
  check(Buffer.isBuffer(plaintext), 'expected the plaintext to be a Buffer')
  checkLength(plaintext, ciphertext.length, 'a plaintext')
  return plaintext
}

function checkHealth(managers: readonly ManagerHealth[]): void {
  if (managers.length < 1 || managers.length > 10) {
    throw broken(
      `expected health reports for 1 to 10 key managers, found ${String(managers.length)}`,
    )
  }
  for (const { id, model, status } of managers) {
    check(
      STATUSES.has(status),
      `expected a status of ACTIVE, DEGRADED or UNAVAILABLE, found ${status}`,
    )
    check(
      PRINTABLE.test(id) && PRINTABLE.test(model),
      'expected the id and model of a key manager to be printable ASCII',
    )
  }
}
