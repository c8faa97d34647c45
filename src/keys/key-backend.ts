/**
 * The interface that a key manager implements to serve one key store. It knows AES-256-GCM keys by
 * id and version, and nothing about XKS, JSON or HTTP. The suite in `src/keys/suite`
 * checks an implementation against every sentence below; `keys/contract.ts` enforces them at run
 * time.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Awaitable, Deadline } from '../core/deadline.ts'
import type { ExternalKeyId } from '../core/ids.ts'

export interface KeyDescription {
  readonly keyId: ExternalKeyId
  /** If false, the key neither encrypts nor decrypts. */
  readonly enabled: boolean
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  /** The version that new ciphertexts use: an integer from 1 to 2^32 - 1. */
  readonly currentVersion: number
  /** Wall time, milliseconds since the Unix epoch; absent if the key manager does not say. */
  readonly createdAt?: number | undefined
}

export interface SealedBytes {
  /** Has the length of the plaintext. */
  readonly ciphertext: Buffer
  /** 12 or 16 bytes; never used twice with one version. */
  readonly iv: Buffer
  /** 16 bytes. */
  readonly tag: Buffer
}

export interface EncryptRequest {
  /** The caller names the version because it is part of the AAD, and so must be known first. */
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
  /** Identifies a key manager (a token, a store) within this backend. */
  readonly id: string
  /** Product name and version. */
  readonly model: string
  readonly status: ManagerStatus
}

/**
 * One key, as found for one request. Every method fails only with `BackendError`, by rejection or,
 * if it answers synchronously, by exception. The backend neither keeps nor changes input buffers
 * after the answer; returned buffers belong to the caller. One place decides for all backends
 * whether a key may be used: `enforceContract` refuses what the description does not allow before
 * it calls a method. A backend throws KEY_DISABLED and KEY_USAGE only for conditions that only it
 * knows, such as the usage of a single version.
 */
export interface BackendKey extends KeyDescription {
  /**
   * Encrypts with AES-256-GCM under one version of the key.
   * @throws VERSION_NOT_FOUND, KEY_EXHAUSTED, KEY_USAGE
   */
  encrypt(request: EncryptRequest): Awaitable<SealedBytes>

  /**
   * Returns the plaintext, which has the length of the ciphertext.
   * @throws VERSION_NOT_FOUND, INTEGRITY_FAILURE, KEY_USAGE
   */
  decrypt(request: DecryptRequest): Awaitable<Buffer>
}

/** Every method fails only with `BackendError`, like those of a key. */
export interface KeyBackend {
  /** Reported as ekmVendor in GetHealthStatus. */
  readonly vendor: string

  /** Called once per request. @throws KEY_NOT_FOUND */
  find(keyId: ExternalKeyId, deadline: Deadline): Awaitable<BackendKey>

  /**
   * Returns the actual state of each key manager, found by encrypting and decrypting with a test
   * key that no caller can reach. One to ten entries; an unusable manager is reported, not thrown.
   */
  health(deadline: Deadline): Promise<readonly ManagerHealth[]>

  /**
   * Ends background work and forgets keys. Afterwards `find` and `health` fail with UNAVAILABLE.
   */
  close(): Promise<void>
}

export interface VerifiedSealedBytes extends SealedBytes {
  /** 32 bytes if a prefix was given: SHA-256 of prefix, IV, ciphertext and tag. */
  readonly digest?: Buffer | undefined
  /** Duration of the decryption in milliseconds. */
  readonly verifyMs: number
}

export interface VerifiedEncryptRequest extends EncryptRequest {
  readonly digestPrefix?: Buffer | undefined
}

/** An optional capability of a key: encryption that verifies itself in the same call. */
export interface VerifiedEncryption {
  /**
   * Encrypts like `encrypt`, then in this order: computes the hash over what it will return,
   * decrypts exactly that, and compares the result with the plaintext.
   * @throws BackendError like encrypt and decrypt, and CONTRACT when the bytes differ
   */
  encryptVerified(request: VerifiedEncryptRequest): Awaitable<VerifiedSealedBytes>
}

export function canVerify(key: BackendKey): key is BackendKey & VerifiedEncryption {
  return 'encryptVerified' in key && typeof key.encryptVerified === 'function'
}
