/** The CKR_* codes of PKCS#11 2.40, by how Latchkey recovers. docs/pkcs11.md has the same table. */
// SPDX-License-Identifier: Apache-2.0
import type { BackendErrorCode } from '../../errors.ts'

/**
 * After any error the session is replaced, because an operation may still be active on it. The recovery is then:
 * - drop: nothing more; the error is final.
 * - probe: encrypt and decrypt with the health key. If that works, the data is at fault; if not,
 *   reinitialize.
 * - refind: forget handles, look the key up again, try once more.
 * - retry: repeat the call in new sessions until the deadline; reinitialize if it keeps failing.
 * - relogin: log in if necessary, forget handles, try once more.
 * - reinitialize: C_Finalize, C_Initialize, log in, try once more.
 * - stop: do not log in again until Latchkey is restarted.
 */
export type CkrAction = 'drop' | 'probe' | 'refind' | 'retry' | 'relogin' | 'reinitialize' | 'stop'

export interface CkrTreatment {
  readonly encrypt: BackendErrorCode
  readonly decrypt: BackendErrorCode
  readonly recovery: CkrAction
  readonly why: string
}

interface CkrGroup extends CkrTreatment {
  readonly codes: Readonly<Record<string, number>>
}

export const CKR_GROUPS: readonly CkrGroup[] = [
  {
    why: 'the tag does not match',
    encrypt: 'UNAVAILABLE',
    decrypt: 'INTEGRITY_FAILURE',
    recovery: 'drop',
    codes: {
      CKR_ENCRYPTED_DATA_INVALID: 0x40,
      CKR_ENCRYPTED_DATA_LEN_RANGE: 0x41,
    },
  },
  {
    why: 'NSS returns this for a ciphertext that is too short',
    encrypt: 'UNAVAILABLE',
    decrypt: 'INTEGRITY_FAILURE',
    recovery: 'drop',
    codes: {
      CKR_DATA_INVALID: 0x20,
      CKR_DATA_LEN_RANGE: 0x21,
    },
  },
  {
    why: 'SoftHSM before 2.7 returns this for a wrong tag, and for a missing token',
    encrypt: 'UNAVAILABLE',
    decrypt: 'INTEGRITY_FAILURE',
    recovery: 'probe',
    codes: {
      CKR_GENERAL_ERROR: 0x5,
    },
  },
  {
    why: 'nShield returns this for a wrong tag, and CloudHSM when it is busy',
    encrypt: 'UNAVAILABLE',
    decrypt: 'INTEGRITY_FAILURE',
    recovery: 'probe',
    codes: {
      CKR_FUNCTION_FAILED: 0x6,
    },
  },
  {
    why: 'also applies to every code that is not in the table',
    encrypt: 'UNAVAILABLE',
    decrypt: 'INTEGRITY_FAILURE',
    recovery: 'probe',
    codes: {
      CKR_VENDOR_DEFINED: 0x80000000,
    },
  },
  {
    why: 'CKA_ENCRYPT or CKA_DECRYPT is false',
    encrypt: 'KEY_USAGE',
    decrypt: 'KEY_USAGE',
    recovery: 'drop',
    codes: {
      CKR_KEY_FUNCTION_NOT_PERMITTED: 0x68,
    },
  },
  {
    why: 'the key is not an AES key',
    encrypt: 'KEY_USAGE',
    decrypt: 'KEY_USAGE',
    recovery: 'drop',
    codes: {
      CKR_KEY_SIZE_RANGE: 0x62,
      CKR_KEY_TYPE_INCONSISTENT: 0x63,
    },
  },
  {
    why: 'the handle predates a reset, or the key was deleted',
    encrypt: 'KEY_NOT_FOUND',
    decrypt: 'KEY_NOT_FOUND',
    recovery: 'refind',
    codes: {
      CKR_KEY_HANDLE_INVALID: 0x60,
      CKR_KEY_CHANGED: 0x65,
      CKR_KEY_NEEDED: 0x66,
      CKR_OBJECT_HANDLE_INVALID: 0x82,
    },
  },
  {
    why: 'the session was closed, or is not logged in',
    encrypt: 'UNAVAILABLE',
    decrypt: 'UNAVAILABLE',
    recovery: 'relogin',
    codes: {
      CKR_SESSION_CLOSED: 0xb0,
      CKR_SESSION_HANDLE_INVALID: 0xb3,
      CKR_SESSION_READ_ONLY: 0xb5,
      CKR_USER_NOT_LOGGED_IN: 0x101,
    },
  },
  {
    why: 'the session is in an unexpected state',
    encrypt: 'UNAVAILABLE',
    decrypt: 'UNAVAILABLE',
    recovery: 'relogin',
    codes: {
      CKR_CANCEL: 0x1,
      CKR_FUNCTION_CANCELED: 0x50,
      CKR_OPERATION_ACTIVE: 0x90,
      CKR_OPERATION_NOT_INITIALIZED: 0x91,
      CKR_BUFFER_TOO_SMALL: 0x150,
    },
  },
  {
    why: 'the device failed this call, but the next call may succeed',
    encrypt: 'UNAVAILABLE',
    decrypt: 'UNAVAILABLE',
    recovery: 'retry',
    codes: {
      CKR_DEVICE_ERROR: 0x30,
      CKR_DEVICE_MEMORY: 0x31,
    },
  },
  {
    why: 'the token or the module is unavailable; some modules must be reinitialized before they detect the token again',
    encrypt: 'UNAVAILABLE',
    decrypt: 'UNAVAILABLE',
    recovery: 'reinitialize',
    codes: {
      CKR_HOST_MEMORY: 0x2,
      CKR_SLOT_ID_INVALID: 0x3,
      CKR_DEVICE_REMOVED: 0x32,
      CKR_TOKEN_NOT_PRESENT: 0xe0,
      CKR_TOKEN_NOT_RECOGNIZED: 0xe1,
      CKR_CRYPTOKI_NOT_INITIALIZED: 0x190,
      CKR_MUTEX_BAD: 0x1a0,
      CKR_MUTEX_NOT_LOCKED: 0x1a1,
    },
  },
  {
    why: 'the token has no free session',
    encrypt: 'BUSY',
    decrypt: 'BUSY',
    recovery: 'drop',
    codes: {
      CKR_SESSION_COUNT: 0xb1,
    },
  },
  {
    why: 'one more login attempt could lock the token',
    encrypt: 'UNAVAILABLE',
    decrypt: 'UNAVAILABLE',
    recovery: 'stop',
    codes: {
      CKR_PIN_INCORRECT: 0xa0,
      CKR_PIN_INVALID: 0xa1,
      CKR_PIN_LEN_RANGE: 0xa2,
      CKR_PIN_EXPIRED: 0xa3,
      CKR_PIN_LOCKED: 0xa4,
      CKR_USER_PIN_NOT_INITIALIZED: 0x102,
      CKR_USER_TYPE_INVALID: 0x103,
      CKR_USER_ANOTHER_ALREADY_LOGGED_IN: 0x104,
      CKR_USER_TOO_MANY_TYPES: 0x105,
      CKR_PIN_TOO_WEAK: 0x1b8,
    },
  },
  {
    why: 'the token does not support AES-GCM, or does not support these parameters; try another IV mode',
    encrypt: 'UNAVAILABLE',
    decrypt: 'UNAVAILABLE',
    recovery: 'drop',
    codes: {
      CKR_ARGUMENTS_BAD: 0x7,
      CKR_MECHANISM_INVALID: 0x70,
      CKR_MECHANISM_PARAM_INVALID: 0x71,
    },
  },
  {
    why: 'the module or the token does not allow the call',
    encrypt: 'UNAVAILABLE',
    decrypt: 'UNAVAILABLE',
    recovery: 'drop',
    codes: {
      CKR_ACTION_PROHIBITED: 0x1b,
      CKR_FUNCTION_NOT_PARALLEL: 0x51,
      CKR_FUNCTION_NOT_SUPPORTED: 0x54,
      CKR_FUNCTION_REJECTED: 0x200,
    },
  },
  {
    why: 'the module did not start',
    encrypt: 'UNAVAILABLE',
    decrypt: 'UNAVAILABLE',
    recovery: 'reinitialize',
    codes: {
      CKR_NEED_TO_CREATE_THREADS: 0x9,
      CKR_CANT_LOCK: 0xa,
      CKR_CRYPTOKI_ALREADY_INITIALIZED: 0x191,
      CKR_FIPS_SELF_TEST_FAILED: 0x1b6,
      CKR_LIBRARY_LOAD_FAILED: 0x1b7,
    },
  },
  {
    why: 'treated as success at login',
    encrypt: 'UNAVAILABLE',
    decrypt: 'UNAVAILABLE',
    recovery: 'drop',
    codes: {
      CKR_SESSION_EXISTS: 0xb6,
      CKR_USER_ALREADY_LOGGED_IN: 0x100,
    },
  },
  {
    why: 'the token cannot create a key with these attributes, or does not reveal an attribute',
    encrypt: 'UNAVAILABLE',
    decrypt: 'UNAVAILABLE',
    recovery: 'drop',
    codes: {
      CKR_ATTRIBUTE_READ_ONLY: 0x10,
      CKR_ATTRIBUTE_SENSITIVE: 0x11,
      CKR_ATTRIBUTE_TYPE_INVALID: 0x12,
      CKR_ATTRIBUTE_VALUE_INVALID: 0x13,
      CKR_KEY_UNEXTRACTABLE: 0x6a,
      CKR_TEMPLATE_INCOMPLETE: 0xd0,
      CKR_TEMPLATE_INCONSISTENT: 0xd1,
      CKR_TOKEN_WRITE_PROTECTED: 0xe2,
      CKR_DOMAIN_PARAMS_INVALID: 0x130,
      CKR_CURVE_NOT_SUPPORTED: 0x140,
      CKR_PUBLIC_KEY_INVALID: 0x1b9,
    },
  },
  {
    why: 'the session cannot be opened as requested',
    encrypt: 'UNAVAILABLE',
    decrypt: 'UNAVAILABLE',
    recovery: 'relogin',
    codes: {
      CKR_SESSION_PARALLEL_NOT_SUPPORTED: 0xb4,
      CKR_SESSION_READ_ONLY_EXISTS: 0xb7,
      CKR_SESSION_READ_WRITE_SO_EXISTS: 0xb8,
      CKR_SAVED_STATE_INVALID: 0x160,
      CKR_STATE_UNSAVEABLE: 0x180,
    },
  },
  {
    why: 'the token has no random number generator',
    encrypt: 'UNAVAILABLE',
    decrypt: 'UNAVAILABLE',
    recovery: 'drop',
    codes: {
      CKR_RANDOM_SEED_NOT_SUPPORTED: 0x120,
      CKR_RANDOM_NO_RNG: 0x121,
    },
  },
  {
    why: 'returned only by calls that Latchkey does not make',
    encrypt: 'UNAVAILABLE',
    decrypt: 'UNAVAILABLE',
    recovery: 'drop',
    codes: {
      CKR_NO_EVENT: 0x8,
      CKR_KEY_NOT_NEEDED: 0x64,
      CKR_KEY_INDIGESTIBLE: 0x67,
      CKR_KEY_NOT_WRAPPABLE: 0x69,
      CKR_SIGNATURE_INVALID: 0xc0,
      CKR_SIGNATURE_LEN_RANGE: 0xc1,
      CKR_UNWRAPPING_KEY_HANDLE_INVALID: 0xf0,
      CKR_UNWRAPPING_KEY_SIZE_RANGE: 0xf1,
      CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT: 0xf2,
      CKR_WRAPPED_KEY_INVALID: 0x110,
      CKR_WRAPPED_KEY_LEN_RANGE: 0x112,
      CKR_WRAPPING_KEY_HANDLE_INVALID: 0x113,
      CKR_WRAPPING_KEY_SIZE_RANGE: 0x114,
      CKR_WRAPPING_KEY_TYPE_INCONSISTENT: 0x115,
      CKR_INFORMATION_SENSITIVE: 0x170,
      CKR_NEW_PIN_MODE: 0x1b0,
      CKR_NEXT_OTP: 0x1b1,
      CKR_EXCEEDED_MAX_ITERATIONS: 0x1b5,
    },
  },
]
