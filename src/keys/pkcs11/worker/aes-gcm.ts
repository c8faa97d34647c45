/** AES-256-GCM on a token, for each way to generate the initialization vector. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import type { IvMode } from '../../../config/config.ts'
import { drawIv, IV_BYTES } from '../../../core/kernel-random.ts'
import { WorkerFailure } from '../wire/errors.ts'
import { createTokenGcm, type GcmOperation } from './gcm/token-gcm.ts'
import type { Handle, Pkcs11Module } from './module.ts'

const CKM_AES_GCM = 0x1087
/**
 * CKM_VENDOR_DEFINED | CKM_AES_GCM, a mechanism of AWS CloudHSM that returns the IV before the
 * ciphertext.
 */
const CKM_CLOUDHSM_AES_GCM = 0x8000_1087
const TAG_BYTES = 16
/** Spare room in output buffers: some modules require more than they write, and their size queries are unreliable. */
const ROOM_BYTES = 16
/** The module gets NULL for this value, which makes Thales and AWS tokens generate the IV. */
const NO_IV = Buffer.alloc(0)

export interface SealedByToken {
  readonly iv: Buffer
  /** Ciphertext followed by the 16-byte tag. The buffer is valid until the next call. */
  readonly sealed: Buffer
}

/** The IV and the output layout of one IV mode. */
interface Mode {
  readonly mechanism: number
  /** Bytes in the output in addition to ciphertext and tag. */
  readonly extraBytes: number
  /** Called before C_EncryptInit. */
  makeIv(): Buffer
  readonly ivBits: number
  /** Called after C_Encrypt. */
  split(output: Buffer, iv: Buffer): SealedByToken
}

const appended = (ivBytes: number): Mode => ({
  mechanism: CKM_AES_GCM,
  extraBytes: ivBytes,
  makeIv: () => NO_IV,
  ivBits: ivBytes * 8,
  split(output) {
    const at = output.length - ivBytes
    return { iv: output.subarray(at), sealed: output.subarray(0, at) }
  },
})

const MODES: Readonly<Record<IvMode, Mode>> = {
  host: {
    mechanism: CKM_AES_GCM,
    extraBytes: 0,
    makeIv: drawIv,
    ivBits: IV_BYTES * 8,
    split: (sealed, iv) => ({ iv, sealed }),
  },
  'hsm-written': {
    mechanism: CKM_AES_GCM,
    extraBytes: 0,
    // CloudHSM writes the IV into this buffer, and refuses a buffer that is not all zeros.
    makeIv: () => Buffer.alloc(IV_BYTES),
    ivBits: IV_BYTES * 8,
    split(sealed, iv) {
      if (iv.every((byte) => byte === 0)) {
        throw new WorkerFailure('CONTRACT', 'the token did not return an initialization vector', {
          hint: 'set a different iv mode; run latchkey pkcs11 probe to find the right one',
        })
      }
      return { iv, sealed }
    },
  },
  'hsm-appended-12': appended(12),
  'hsm-appended-16': appended(16),
  'cloudhsm-gcm': {
    mechanism: CKM_CLOUDHSM_AES_GCM,
    extraBytes: IV_BYTES,
    makeIv: () => NO_IV,
    ivBits: 0,
    split: (output) => ({
      iv: output.subarray(0, IV_BYTES),
      sealed: output.subarray(IV_BYTES),
    }),
  },
}

export function mechanismOf(mode: IvMode): number {
  return MODES[mode].mechanism
}

export interface AesGcm {
  readonly mechanism: number
  /** See TokenGcm. */
  readonly missing: string | undefined
  encrypt(session: Handle, key: Handle, plaintext: Buffer, aad: Buffer): SealedByToken
  /** @returns the plaintext, valid until the next call */
  decrypt(session: Handle, key: Handle, iv: Buffer, sealed: Buffer, aad: Buffer): Buffer
  /**
   * Computes the tag of a fixed message under a fixed IV, which identifies the key. The probability
   * that a random IV for a real message equals this IV is 2^-96. Returns undefined if the token
   * chooses IVs.
   */
  check(session: Handle, key: Handle): Buffer | undefined
}

const CHECK_MESSAGE = Buffer.from('latchkey key check value, version 1')
const CHECK_IV = createHash('sha256').update(CHECK_MESSAGE).digest().subarray(0, IV_BYTES)

/**
 * The returned object makes only one-shot calls. It passes its own buffers to the module, and never
 * NULL.
 */
export function createAesGcm(module: Pkcs11Module, ivMode: IvMode): AesGcm {
  const mode = MODES[ivMode]
  const token = createTokenGcm(module)
  // Two buffers are used, so that the ciphertext survives the decryption that verifies it.
  let sealedRoom = Buffer.alloc(0)
  let openedRoom = Buffer.alloc(0)

  function seal(
    { session, key, iv, ivBits }: Pick<GcmOperation, 'session' | 'key' | 'iv' | 'ivBits'>,
    input: Buffer,
    aad: Buffer,
  ): Buffer {
    const size = input.length + TAG_BYTES + mode.extraBytes
    if (sealedRoom.length < size + ROOM_BYTES) sealedRoom = Buffer.alloc(size + ROOM_BYTES)
    const { mechanism } = mode
    const output = sealedRoom
    const room = size + ROOM_BYTES
    const operation = { session, key, mechanism, iv, ivBits, aad, input, output, room }
    if (token.encrypt(operation) !== size) {
      throw new WorkerFailure('CONTRACT', 'the token returned a ciphertext of the wrong length', {
        hint: 'set a different iv mode; run latchkey pkcs11 probe to find the right one',
      })
    }
    return sealedRoom.subarray(0, size)
  }

  return {
    mechanism: mode.mechanism,
    missing: token.missing,
    encrypt(session, key, plaintext, aad) {
      const iv = mode.makeIv()
      return mode.split(seal({ session, key, iv, ivBits: mode.ivBits }, plaintext, aad), iv)
    },
    decrypt(session, key, ivBytes, sealed, aad) {
      const isPrefixed = mode.mechanism === CKM_CLOUDHSM_AES_GCM
      const input = isPrefixed ? Buffer.concat([ivBytes, sealed]) : sealed
      const iv = isPrefixed ? NO_IV : ivBytes
      const room = input.length + ROOM_BYTES
      if (openedRoom.length < room) openedRoom = Buffer.alloc(room)
      const { mechanism } = mode
      const ivBits = iv.length * 8
      const output = openedRoom
      const operation = { session, key, mechanism, iv, ivBits, aad, input, output, room }
      const size = token.decrypt(operation)
      if (size !== sealed.length - TAG_BYTES) {
        throw new WorkerFailure('CONTRACT', 'the token returned a plaintext of the wrong length')
      }
      return openedRoom.subarray(0, size)
    },
    check(session, key) {
      if (ivMode !== 'host') return undefined
      const output = seal(
        { session, key, iv: CHECK_IV, ivBits: IV_BYTES * 8 },
        CHECK_MESSAGE,
        CHECK_MESSAGE,
      )
      return Buffer.from(output.subarray(output.length - TAG_BYTES))
    },
  }
}
