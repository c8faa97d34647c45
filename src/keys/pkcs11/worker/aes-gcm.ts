/** AES-256-GCM on a token, for each way to generate the initialization vector. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import type { IvMode } from '../../../config/config.ts'
import { drawIv, IV_BYTES } from '../../../core/kernel-random.ts'
import { WorkerFailure } from '../wire/errors.ts'
import { invoke, type Handle, type Pkcs11Module } from './module.ts'

const CKM_AES_GCM = 0x1087
/**
 * CKM_VENDOR_DEFINED | CKM_AES_GCM, a mechanism of AWS CloudHSM that returns the IV before the
 * ciphertext.
 */
const CKM_CLOUDHSM_AES_GCM = 0x8000_1087
/** pkcs11js's type for CK_GCM_PARAMS with ulIvBits. Its other type leaves ulIvBits unset. */
const CK_GCM_PARAMS = 7
const TAG_BYTES = 16
/** Spare room in output buffers: some modules require more than they write, and their size queries are unreliable. */
const ROOM_BYTES = 16
/**
 * An empty view of a one-byte buffer instead of Buffer.alloc(0), because modules that get NULL for
 * empty input refuse it or crash.
 */
const NO_BYTES = Buffer.alloc(1).subarray(0, 0)
/**
 * The binding passes this value to the module as NULL, which makes Thales and AWS tokens generate
 * the IV.
 */
const NO_IV = Buffer.alloc(0)

export interface SealedByToken {
  readonly iv: Buffer
  /** Ciphertext followed by the 16-byte tag. The buffer is valid until the next call. */
  readonly sealed: Buffer
}

interface Parameter {
  readonly type: number
  readonly iv: Buffer
  readonly ivBits: number
  readonly aad: Buffer
  readonly tagBits: number
}

interface Mechanism {
  readonly mechanism: number
  readonly parameter: Parameter
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
export function createAesGcm({ cryptoki }: Pkcs11Module, iv: IvMode): AesGcm {
  const mode = MODES[iv]
  // Two buffers are used, so that the ciphertext survives the decryption that verifies it.
  let sealedRoom = Buffer.alloc(0)
  let openedRoom = Buffer.alloc(0)

  function toMechanism(ivBytes: Buffer, ivBits: number, aad: Buffer): Mechanism {
    const parameter = { type: CK_GCM_PARAMS, iv: ivBytes, ivBits, aad: orNone(aad), tagBits: 128 }
    return { mechanism: mode.mechanism, parameter }
  }

  function seal(session: Handle, key: Handle, with_: Mechanism, plaintext: Buffer): Buffer {
    const size = plaintext.length + TAG_BYTES + mode.extraBytes
    if (sealedRoom.length < size + ROOM_BYTES) sealedRoom = Buffer.alloc(size + ROOM_BYTES)
    invoke('C_EncryptInit', () => {
      cryptoki.C_EncryptInit(session, with_, key)
    })
    const room = sealedRoom.subarray(0, size + ROOM_BYTES)
    const output = invoke('C_Encrypt', () => cryptoki.C_Encrypt(session, orNone(plaintext), room))
    if (output.length !== size) {
      throw new WorkerFailure('CONTRACT', 'the token returned a ciphertext of the wrong length', {
        hint: 'set a different iv mode; run latchkey pkcs11 probe to find the right one',
      })
    }
    return output
  }

  return {
    mechanism: mode.mechanism,
    encrypt(session, key, plaintext, aad) {
      // Keep the buffer referenced until C_Encrypt has returned, because a token may write into it
      // until then.
      const own = mode.makeIv()
      return mode.split(seal(session, key, toMechanism(own, mode.ivBits, aad), plaintext), own)
    },
    decrypt(session, key, ivBytes, sealed, aad) {
      const isPrefixed = mode.mechanism === CKM_CLOUDHSM_AES_GCM
      const input = isPrefixed ? Buffer.concat([ivBytes, sealed]) : sealed
      const with_ = isPrefixed
        ? toMechanism(NO_IV, 0, aad)
        : toMechanism(ivBytes, ivBytes.length * 8, aad)
      const size = input.length + ROOM_BYTES
      if (openedRoom.length < size) openedRoom = Buffer.alloc(size)
      invoke('C_DecryptInit', () => {
        cryptoki.C_DecryptInit(session, with_, key)
      })
      const room = openedRoom.subarray(0, size)
      const output = invoke('C_Decrypt', () => cryptoki.C_Decrypt(session, input, room))
      if (output.length !== sealed.length - TAG_BYTES) {
        throw new WorkerFailure('CONTRACT', 'the token returned a plaintext of the wrong length')
      }
      return output
    },
    check(session, key) {
      if (iv !== 'host') return undefined
      const with_ = toMechanism(CHECK_IV, IV_BYTES * 8, CHECK_MESSAGE)
      const output = seal(session, key, with_, CHECK_MESSAGE)
      return Buffer.from(output.subarray(output.length - TAG_BYTES))
    },
  }
}

function orNone(bytes: Buffer): Buffer {
  return bytes.length === 0 ? NO_BYTES : bytes
}
