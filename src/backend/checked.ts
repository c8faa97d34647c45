/** Holds any backend to its contract: a plugin's mistake becomes an error, never a bad ciphertext. */
// SPDX-License-Identifier: Apache-2.0
import { DeadlineExceeded } from '../base/deadline.ts'
import { BackendError } from './errors.ts'
import type {
  EncryptedBytes,
  KeyBackend,
  KeyDescription,
  ManagerHealth,
  SealedBytes,
} from './key-backend.ts'

const TAG_BYTES = 16
const MAX_VERSION = 0xffff_ffff
/** len16, 65,535 bytes of AAD, len8, 20 bytes of metadata. */
const MAX_AAD_BYTES = 2 + 65_535 + 1 + 20
const PRINTABLE = /^[\x20-\x7e]{1,256}$/

/** Checks lengths and ranges only: no copies, no timers, nothing that the hot path would feel. */
export function createCheckedBackend(backend: KeyBackend): KeyBackend {
  return {
    vendor: backend.vendor,
    async describe(keyId, deadline) {
      try {
        const key = await backend.describe(keyId, deadline)
        checkDescription(key, keyId)
        return key
      } catch (error) {
        throw toBackendError(error)
      }
    },
    async encrypt(keyId, version, plaintext, aad, deadline) {
      try {
        check(isVersion(version), 'the version is not from 1 to 2^32 - 1')
        check(aad.length <= MAX_AAD_BYTES, 'the AAD is too long')
        const sealed = await backend.encrypt(keyId, version, plaintext, aad, deadline)
        checkSealed(sealed, plaintext)
        return sealed
      } catch (error) {
        throw toBackendError(error)
      }
    },
    async decrypt(keyId, sealed, aad, deadline) {
      try {
        check(isVersion(sealed.version), 'the version is not from 1 to 2^32 - 1')
        check(isIv(sealed.iv) && sealed.tag.length === TAG_BYTES, 'IV or tag has another length')
        check(aad.length <= MAX_AAD_BYTES, 'the AAD is too long')
        const plaintext = await backend.decrypt(keyId, sealed, aad, deadline)
        checkPlaintext(plaintext, sealed)
        return plaintext
      } catch (error) {
        throw toBackendError(error)
      }
    },
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

/** Whatever else is thrown is a fault of the backend, with the original as cause. */
function toBackendError(error: unknown): BackendError {
  if (error instanceof BackendError) return error
  return error instanceof DeadlineExceeded
    ? new BackendError('TIMEOUT', 'the key manager did not answer in time', { cause: error })
    : new BackendError('UNAVAILABLE', 'the key manager failed', { cause: error })
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
  check(sealed.ciphertext.length === plaintext.length, 'ciphertext and plaintext differ in length')
  check(isIv(sealed.iv), 'the IV has neither 12 nor 16 bytes')
  check(sealed.tag.length === TAG_BYTES, 'the tag has not 16 bytes')
  // An HSM that was to write the IV and did not would leave the zeros it was given.
  check(!isZero(sealed.iv), 'the IV is all zeros')
}

function isZero(bytes: Buffer): boolean {
  for (const byte of bytes) if (byte !== 0) return false
  return true
}

function checkPlaintext(plaintext: Buffer, sealed: EncryptedBytes): void {
  check(plaintext.length === sealed.ciphertext.length, 'plaintext and ciphertext differ in length')
}

function checkHealth(managers: readonly ManagerHealth[]): void {
  check(managers.length >= 1 && managers.length <= 10, 'health has no entry, or more than ten')
  for (const { id, model } of managers) {
    check(PRINTABLE.test(id) && PRINTABLE.test(model), 'id or model is not printable ASCII')
  }
}
