/**
 * One AES-GCM operation of a PKCS#11 module: C_EncryptInit and C_Encrypt, or C_DecryptInit and
 * C_Decrypt. It runs in Latchkey's add-on (token-gcm.c), or through pkcs11js if the add-on cannot
 * be loaded here or cannot use the module. pkcs11js takes more processor time.
 */
// SPDX-License-Identifier: Apache-2.0
import { createRequire } from 'node:module'
import { describeMissingAddOn } from '../../../../core/native-add-on.ts'
import { CkrFailure } from '../../wire/errors.ts'
import { invoke, type Handle, type Pkcs11Module } from '../module.ts'

/** Relative to the project root, so it resolves from dist/ and from .test-build/. */
const FILE = '../../../../../../src/keys/pkcs11/worker/gcm/build/Release/token_gcm.node'
/** pkcs11js's type for CK_GCM_PARAMS with ulIvBits. Its other type leaves ulIvBits unset. */
const CK_GCM_PARAMS = 7
const TAG_BITS = 128
/** See SECOND_CALL in token-gcm.c. */
const SECOND_CALL = 2 ** 32
/**
 * An empty view of a one-byte buffer instead of Buffer.alloc(0), because modules that get NULL for
 * empty input refuse it or crash.
 */
const NO_BYTES = Buffer.alloc(1).subarray(0, 0)

/** token-gcm.c documents each function. */
interface AddOn {
  load(path: string): unknown
  run(
    list: unknown,
    encrypts: boolean,
    mechanism: number,
    session: Handle,
    key: Handle,
    iv: Buffer,
    ivBits: number,
    aad: Buffer,
    input: Buffer,
    output: Buffer,
    room: number,
  ): number
}

export interface GcmOperation {
  readonly session: Handle
  readonly key: Handle
  readonly mechanism: number
  /** If empty, the module gets NULL, which makes Thales and AWS tokens generate the IV. */
  readonly iv: Buffer
  readonly ivBits: number
  readonly aad: Buffer
  readonly input: Buffer
  /** Receives the result. A module may also write into `iv`. */
  readonly output: Buffer
  /** Number of bytes of `output` that the module may use. */
  readonly room: number
}

/**
 * Runs operations of one module. Both methods return the size of the result in bytes, and throw
 * CkrFailure.
 */
export interface TokenGcm {
  /** The reason for using pkcs11js; undefined if the add-on is used. */
  readonly missing: string | undefined
  encrypt(operation: GcmOperation): number
  decrypt(operation: GcmOperation): number
}

export function createTokenGcm(module: Pkcs11Module): TokenGcm {
  try {
    return createFromAddOn(module.path)
  } catch (error) {
    return createFromBinding(module, describeMissingAddOn(error))
  }
}

/** @throws Error if the add-on cannot be loaded or cannot use the module */
export function createFromAddOn(path: string): TokenGcm {
  const addOn = createRequire(import.meta.url)(FILE) as AddOn
  const list = addOn.load(path)
  function run(encrypts: boolean, first: string, second: string, one: GcmOperation): number {
    const { mechanism, session, key, iv, ivBits, aad, input, output, room } = one
    const outcome = addOn.run(
      list,
      encrypts,
      mechanism,
      session,
      key,
      iv,
      ivBits,
      aad,
      input,
      output,
      room,
    )
    if (outcome >= 0) return outcome
    const code = -outcome
    throw code >= SECOND_CALL
      ? new CkrFailure(second, code - SECOND_CALL)
      : new CkrFailure(first, code)
  }
  return {
    missing: undefined,
    encrypt: (operation) => run(true, 'C_EncryptInit', 'C_Encrypt', operation),
    decrypt: (operation) => run(false, 'C_DecryptInit', 'C_Decrypt', operation),
  }
}

export function createFromBinding({ cryptoki }: Pkcs11Module, missing: string): TokenGcm {
  const toMechanism = ({ mechanism, iv, ivBits, aad }: GcmOperation) => ({
    mechanism,
    parameter: { type: CK_GCM_PARAMS, iv, ivBits, aad: orNone(aad), tagBits: TAG_BITS },
  })
  type Calls = readonly ['C_EncryptInit', 'C_Encrypt'] | readonly ['C_DecryptInit', 'C_Decrypt']
  function run([first, second]: Calls, operation: GcmOperation): number {
    const { session, key, input, output, room } = operation
    invoke(first, () => {
      cryptoki[first](session, toMechanism(operation), key)
    })
    const target = output.subarray(0, room)
    return invoke(second, () => cryptoki[second](session, orNone(input), target)).length
  }
  return {
    missing,
    encrypt: (operation) => run(['C_EncryptInit', 'C_Encrypt'], operation),
    decrypt: (operation) => run(['C_DecryptInit', 'C_Decrypt'], operation),
  }
}

function orNone(bytes: Buffer): Buffer {
  return bytes.length === 0 ? NO_BYTES : bytes
}
