/** What can go wrong with a key, in the words of key managers. `xks/error-map.ts` turns it into XKS. */
// SPDX-License-Identifier: Apache-2.0
import { DeadlineExceeded } from '../core/deadline.ts'
import { LatchkeyError, type ErrorOptionsWithHint } from '../core/errors.ts'

export type BackendErrorCode =
  | 'KEY_NOT_FOUND' // no key with this id in this key store
  | 'KEY_DISABLED' // the key exists, and somebody disabled it
  | 'KEY_USAGE' // the key may not be used in this direction, or is not an AES-256 key
  | 'KEY_EXHAUSTED' // the version has done its 2^32 encryptions: rotate (NIST SP 800-38D, 8.3)
  | 'KEY_EXISTS' // a key with this id is there already
  | 'VERSION_NOT_FOUND' // no such version of the key, or it was destroyed
  | 'INTEGRITY_FAILURE' // the tag does not fit ciphertext, IV and AAD
  | 'LIMIT_EXCEEDED' // larger than this key manager takes
  | 'BUSY' // no room now; the caller may try again
  | 'TIMEOUT' // the deadline passed before the key manager answered
  | 'UNAVAILABLE' // the key manager cannot be used now
  | 'MISCONFIGURED' // the configuration and the key manager do not go together
  | 'CONTRACT' // the backend broke its own contract: never send its result on

export class BackendError extends LatchkeyError<BackendErrorCode> {
  override readonly name = 'BackendError'

  constructor(code: BackendErrorCode, message: string, options: ErrorOptionsWithHint = {}) {
    super(code, message, options)
  }
}

/** Whatever else is thrown is a fault of the key manager, with the original as cause. */
export function toBackendError(error: unknown): BackendError {
  if (error instanceof BackendError) return error
  return error instanceof DeadlineExceeded
    ? new BackendError('TIMEOUT', 'the key manager did not answer in time', { cause: error })
    : new BackendError('UNAVAILABLE', 'the key manager failed', { cause: error })
}
