/** Holds any backend to its contract: a plugin's mistake becomes an error, never a bad ciphertext. */
// SPDX-License-Identifier: Apache-2.0
import type { Awaitable } from '../core/awaitable.ts'
import { BackendError, toBackendError } from './errors.ts'
import {
  type EncryptedBytes,
  type KeyBackend,
  type KeyDescription,
  type ManagerHealth,
  type ManagerStatus,
  type SealedBytes,
  type VerifiedEncryption,
  canVerify,
} from './key-backend.ts'

const TAG_BYTES = 16
const DIGEST_BYTES = 32
const MAX_VERSION = 0xffff_ffff
/** len16, 65,535 bytes of AAD, len8, 20 bytes of metadata. */
const MAX_AAD_BYTES = 2 + 65_535 + 1 + 20
const STATUSES: ReadonlySet<string> = new Set<ManagerStatus>(['ACTIVE', 'DEGRADED', 'UNAVAILABLE'])
const PRINTABLE = /^[\x20-\x7e]{1,256}$/

/** Checks lengths and ranges only: no copies, no timers, nothing that the hot path would feel. */
export function enforceContract(backend: KeyBackend): KeyBackend {
  const checked = checkBasics(backend)
  return canVerify(backend) ? { ...checked, ...checkVerified(backend) } : checked
}

/** Whatever fails, now or later, fails as a BackendError. */
function guard<T>(ask: () => Awaitable<T>, checkResult: (result: T) => void): Awaitable<T> {
  try {
    const result = ask()
    if (result instanceof Promise) return checkLater(result, checkResult)
    checkResult(result)
    return result
  } catch (error) {
    throw toBackendError(error)
  }
}

async function checkLater<T>(result: Promise<T>, checkResult: (result: T) => void): Promise<T> {
  try {
    const settled = await result
    checkResult(settled)
    return settled
  } catch (error) {
    throw toBackendError(error)
  }
}

function checkBasics(backend: KeyBackend): KeyBackend {
  return {
    get vendor() {
      return backend.vendor
    },
    describe: (keyId, deadline) =>
      guard(
        () => backend.describe(keyId, deadline),
        (key) => {
          checkDescription(key, keyId)
        },
      ),
    encrypt: (keyId, version, plaintext, aad, deadline) =>
      guard(
        () => {
          checkInput(version, aad)
          return backend.encrypt(keyId, version, plaintext, aad, deadline)
        },
        (sealed) => {
          checkSealed(sealed, plaintext)
        },
      ),
    decrypt: (keyId, sealed, aad, deadline) =>
      guard(
        () => {
          checkInput(sealed.version, aad)
          check(isIv(sealed.iv) && sealed.tag.length === TAG_BYTES, 'IV or tag has another length')
          return backend.decrypt(keyId, sealed, aad, deadline)
        },
        (plaintext) => {
          checkPlaintext(plaintext, sealed)
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

function checkVerified(backend: VerifiedEncryption): VerifiedEncryption {
  return {
    encryptVerified: (keyId, version, plaintext, aad, deadline, digestPrefix) =>
      guard(
        () => {
          checkInput(version, aad)
          return backend.encryptVerified(keyId, version, plaintext, aad, deadline, digestPrefix)
        },
        (sealed) => {
          checkSealed(sealed, plaintext)
          const hasDigest = sealed.digest?.length === DIGEST_BYTES
          check(hasDigest || digestPrefix === undefined, 'the digest has not 32 bytes')
        },
      ),
  }
}

function checkInput(version: number, aad: Buffer): void {
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

function checkDescription(key: KeyDescription, keyId: string): void {
  check(key.keyId === keyId, 'another key was described')
  check(isVersion(key.currentVersion), 'the current version is not from 1 to 2^32 - 1')
}

function checkSealed(sealed: SealedBytes, plaintext: Buffer): void {
  const { ciphertext, iv, tag } = sealed
  const areBuffers = Buffer.isBuffer(ciphertext) && Buffer.isBuffer(iv) && Buffer.isBuffer(tag)
  check(areBuffers, 'ciphertext, IV or tag is no Buffer')
  check(ciphertext.length === plaintext.length, 'ciphertext and plaintext differ in length')
  check(isIv(iv), 'the IV has neither 12 nor 16 bytes')
  check(tag.length === TAG_BYTES, 'the tag has not 16 bytes')
  // An HSM that was to write the IV and did not would leave the zeros it was given.
  check(!isZero(iv), 'the IV is all zeros')
}

function isZero(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte !== 0) return false
  return true
}

function checkPlaintext(plaintext: Buffer, sealed: EncryptedBytes): void {
  // Another Uint8Array would be written out as decimal numbers instead of Base64.
  check(Buffer.isBuffer(plaintext), 'the plaintext is no Buffer')
  check(plaintext.length === sealed.ciphertext.length, 'plaintext and ciphertext differ in length')
}

function checkHealth(managers: readonly ManagerHealth[]): void {
  check(managers.length >= 1 && managers.length <= 10, 'health has no entry, or more than ten')
  for (const { id, model, status } of managers) {
    check(STATUSES.has(status), 'a status is none of the three')
    check(PRINTABLE.test(id) && PRINTABLE.test(model), 'id or model is not printable ASCII')
  }
}
