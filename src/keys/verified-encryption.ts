/** An optional power of a key backend: encrypt, hash, and decrypt to compare, without a way back in between. */
// SPDX-License-Identifier: Apache-2.0
import type { Awaitable } from '../core/awaitable.ts'
import type { Deadline } from '../core/deadline.ts'
import type { ExternalKeyId } from '../core/ids.ts'
import type { KeyBackend, SealedBytes } from './key-backend.ts'

export interface VerifiedSealedBytes extends SealedBytes {
  /** 32 bytes, when a prefix was given: SHA-256 of prefix, IV, ciphertext and tag. */
  readonly digest?: Buffer
  /** What the decryption took. */
  readonly verifyMs: number
}

export interface VerifiedEncryption {
  /**
   * As `encrypt`, and then, in this order: the hash is computed from what will be returned; that same
   * is decrypted; the result is compared with the plaintext.
   * @throws BackendError as encrypt and decrypt do, and CONTRACT when other bytes came back
   */
  encryptVerified(
    keyId: ExternalKeyId,
    version: number,
    plaintext: Buffer,
    aad: Buffer,
    deadline: Deadline,
    digestPrefix?: Buffer,
  ): Awaitable<VerifiedSealedBytes>
}

export function canVerify(backend: KeyBackend): backend is KeyBackend & VerifiedEncryption {
  return 'encryptVerified' in backend && typeof backend.encryptVerified === 'function'
}
