/**
 * The interface that a key manager implements to serve one key store. It knows AES-256-GCM keys by
 * id and version, and nothing about XKS, JSON or HTTP. The suite in `src/keys/suite`
 * checks an implementation against every sentence below; `keys/contract.ts` enforces them at run
 * time.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Awaitable, Deadline } from '../core/deadline.ts'
import type { ExternalKeyId } from '../core/ids.ts'

/**
 * PRE_ACTIVE means that the activation date has not been reached. DEACTIVATED means that the
 * deactivation date has been reached.
 */
export type DateState = 'PRE_ACTIVE' | 'DEACTIVATED'

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
  /**
   * Set by `enforceContract` from the dates in the control store, not by backends. PRE_ACTIVE
   * neither encrypts nor decrypts; DEACTIVATED only decrypts.
   */
  readonly dateState?: DateState | undefined
}

export interface SealedBytes {
  /** Ciphertext of the same length as the plaintext. */
  readonly ciphertext: Buffer
  /** 12 or 16 bytes. A key version never uses the same IV twice. */
  readonly iv: Buffer
  /** 16 bytes. */
  readonly tag: Buffer
}

export interface EncryptRequest {
  /**
   * The caller specifies the version, because the version is part of the AAD and must therefore be
   * known before encryption.
   */
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

/** Values of ekmFleetDetails.healthStatus (XKS 1.0.3, GetHealthStatus). */
export type ManagerStatus = 'ACTIVE' | 'DEGRADED' | 'UNAVAILABLE'

export interface ManagerHealth {
  /** Identifies a key manager (a token, a store) within this backend. */
  readonly id: string
  /** Product name and version. */
  readonly model: string
  readonly status: ManagerStatus
}

/**
 * One key, as found for one request. Every method fails only with `BackendError`: a promise rejects
 * with it, and a synchronous call throws it. The backend neither keeps nor changes input buffers
 * after it has returned its result. Returned buffers belong to the caller. Whether a key may be
 * used is decided in one place for all backends: `enforceContract` refuses what the description
 * does not allow before it calls a method. A backend throws KEY_DISABLED and KEY_USAGE only for
 * conditions that only it knows, such as the usage of a single version.
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

/** Every method fails only with `BackendError`, like the methods of a BackendKey. */
export interface KeyBackend {
  /** Reported as ekmVendor in GetHealthStatus. */
  readonly vendor: string

  /** Called once per request. @throws KEY_NOT_FOUND */
  find(keyId: ExternalKeyId, deadline: Deadline): Awaitable<BackendKey>

  /**
   * Returns the actual state of each key manager, as one to ten entries. To find the state, the
   * backend encrypts and decrypts with a test key that no caller can reach. It reports an unusable
   * manager instead of throwing an error.
   */
  health(deadline: Deadline): Promise<readonly ManagerHealth[]>

  /**
   * Ends background work and forgets keys. Afterwards `find` and `health` fail with UNAVAILABLE.
   */
  close(): Promise<void>
}

export interface VerifiedSealedBytes extends SealedBytes {
  /** SHA-256 of prefix, IV, ciphertext and tag (32 bytes), if a prefix was given. */
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
   * Encrypts like `encrypt`, computes the hash over the result, decrypts the same result, and
   * compares the output with the plaintext, in this order.
   * @throws BackendError like encrypt and decrypt, and CONTRACT if the bytes differ
   */
  encryptVerified(request: VerifiedEncryptRequest): Awaitable<VerifiedSealedBytes>
}

export function canVerify(key: BackendKey): key is BackendKey & VerifiedEncryption {
  return 'encryptVerified' in key && typeof key.encryptVerified === 'function'
}
