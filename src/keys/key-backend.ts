/**
 * The interface that a key manager implements to serve one key store. It knows AES-256-GCM keys by
 * id and version; it knows nothing of XKS, JSON or HTTP. The suite in `test/contract/key-backend.ts`
 * checks an implementation against every sentence below; `keys/contract.ts` holds it to them at
 * run time.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Awaitable, Deadline } from '../core/deadline.ts'
import type { ExternalKeyId } from '../core/ids.ts'

export interface KeyDescription {
  readonly keyId: ExternalKeyId
  /** False: nothing is encrypted or decrypted. */
  readonly enabled: boolean
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  /** The version that new ciphertexts use: an integer from 1 to 2^32 - 1. */
  readonly currentVersion: number
}

export interface SealedBytes {
  /** As long as the plaintext. */
  readonly ciphertext: Buffer
  /** 12 or 16 bytes; never used twice with one version. */
  readonly iv: Buffer
  /** 16 bytes. */
  readonly tag: Buffer
}

export interface EncryptRequest {
  /** The caller names the version, because it is part of the AAD and so must be known before. */
  readonly version: number
  readonly plaintext: Buffer
  readonly aad: Buffer
  readonly deadline: Deadline
}

export interface DecryptRequest {
  readonly version: number
  readonly iv: Buffer
  readonly ciphertext: Buffer
  readonly tag: Buffer
  readonly aad: Buffer
  readonly deadline: Deadline
}

/** XKS 1.0.3, GetHealthStatus: ekmFleetDetails.healthStatus. */
export type ManagerStatus = 'ACTIVE' | 'DEGRADED' | 'UNAVAILABLE'

export interface ManagerHealth {
  /** Identifies one key manager (a token, a store) among those of this backend. */
  readonly id: string
  /** Product name and version. */
  readonly model: string
  readonly status: ManagerStatus
}

/**
 * One key, as it was found for one request. Every method fails with `BackendError`, and with no other class: by a
 * rejection, or by an exception where it answers at once. Buffers that are handed in are not kept or changed after the
 * answer is there; buffers that come back are the caller's.
 *
 * Whether the key may be used is decided in one place for all backends: `enforceContract` refuses what the description
 * does not allow, before a method is called. A backend throws KEY_DISABLED and KEY_USAGE only for what it alone knows,
 * such as the usage of a single version.
 */
export interface BackendKey extends KeyDescription {
  /** AES-256-GCM under one version of the key. @throws VERSION_NOT_FOUND, KEY_EXHAUSTED, KEY_USAGE */
  encrypt(request: EncryptRequest): Awaitable<SealedBytes>

  /** The plaintext, as long as the ciphertext. @throws VERSION_NOT_FOUND, INTEGRITY_FAILURE, KEY_USAGE */
  decrypt(request: DecryptRequest): Awaitable<Buffer>
}

/** Every method fails with `BackendError`, as those of a key do. */
export interface KeyBackend {
  /** ekmVendor of GetHealthStatus. */
  readonly vendor: string

  /** The only look-up of a request. @throws KEY_NOT_FOUND */
  find(keyId: ExternalKeyId, deadline: Deadline): Awaitable<BackendKey>

  /**
   * The true state of each key manager, found by encrypting and decrypting with a test key that no
   * caller can reach. One to ten entries; an unusable manager is reported, not thrown.
   */
  health(deadline: Deadline): Promise<readonly ManagerHealth[]>

  /** Ends background work and forgets keys. `find` and `health` fail with UNAVAILABLE after this. */
  close(): Promise<void>
}

export interface VerifiedSealedBytes extends SealedBytes {
  /** 32 bytes, when a prefix was given: SHA-256 of prefix, IV, ciphertext and tag. */
  readonly digest?: Buffer
  /** What the decryption took. */
  readonly verifyMs: number
}

export interface VerifiedEncryptRequest extends EncryptRequest {
  readonly digestPrefix?: Buffer | undefined
}

/** An optional power of a key: encryption that proves itself without a way back in between. */
export interface VerifiedEncryption {
  /**
   * As `encrypt`, and then, in this order: the hash is computed from what will be returned; that same
   * is decrypted; the result is compared with the plaintext.
   * @throws BackendError as encrypt and decrypt do, and CONTRACT when other bytes came back
   */
  encryptVerified(request: VerifiedEncryptRequest): Awaitable<VerifiedSealedBytes>
}

export function canVerify(key: BackendKey): key is BackendKey & VerifiedEncryption {
  return 'encryptVerified' in key && typeof key.encryptVerified === 'function'
}
