/**
 * Errors that a key manager can report, independent of XKS. `xks/error-map.ts` converts them to XKS
 * errors.
 */
// SPDX-License-Identifier: Apache-2.0
import { DeadlineExceeded } from '../core/deadline.ts'
import { LatchkeyError, type ErrorOptionsWithHint } from '../core/errors.ts'

export type BackendErrorCode =
  | 'KEY_NOT_FOUND' // there is no key with this id in this key store
  | 'KEY_DISABLED' // the key exists but was disabled
  | 'KEY_NOT_ACTIVE' // the activation date of the key has not been reached
  | 'KEY_DEACTIVATED' // the deactivation date has been reached; the key still decrypts
  | 'KEY_USAGE' // the key may not be used for this operation, or is not an AES-256 key
  | 'KEY_EXHAUSTED' // the version has reached its limit of 2^32 encryptions; rotate the key (NIST SP 800-38D, 8.3)
  | 'KEY_EXISTS' // a key with this id already exists
  | 'KEY_DATES_INVALID' // the deactivation date would not be after the activation date, or a date is not in the years 1970 to 9999
  | 'KEY_REPLACED' // the key with this name on the token is not the recorded key
  | 'VERSION_NOT_FOUND' // the version does not exist or was destroyed
  | 'VERSION_RETIRED' // the version is being retired and refuses Decrypt; it has not been destroyed yet
  | 'INTEGRITY_FAILURE' // the tag does not match the ciphertext, the IV and the AAD
  | 'LIMIT_EXCEEDED' // the input is larger than this key manager accepts
  | 'BUSY' // the key manager has no capacity at the moment; the caller may retry
  | 'TIMEOUT' // the deadline passed before the key manager responded
  | 'UNAVAILABLE' // the key manager is temporarily unavailable
  | 'MISCONFIGURED' // the configuration does not match the key manager
  | 'CONTRACT' // the backend violated its contract; its result must not be used

export class BackendError extends LatchkeyError<BackendErrorCode> {
  override readonly name = 'BackendError'

  constructor(code: BackendErrorCode, message: string, options: ErrorOptionsWithHint = {}) {
    super(code, message, options)
  }
}

/**
 * Treats any thrown value other than a BackendError as a failure of the key manager, and keeps it
 * as the cause.
 */
export function toBackendError(error: unknown): BackendError {
  if (error instanceof BackendError) return error
  return error instanceof DeadlineExceeded
    ? new BackendError('TIMEOUT', 'the key manager did not respond in time', { cause: error })
    : new BackendError('UNAVAILABLE', 'the key manager failed', { cause: error })
}
