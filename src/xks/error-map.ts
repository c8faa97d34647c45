/** The only place where our error codes are mapped to the error names that KMS receives. */
// SPDX-License-Identifier: Apache-2.0
import { DeadlineExceeded } from '../core/deadline.ts'
import type { Operation } from '../core/request.ts'
import { BackendError, type BackendErrorCode } from '../keys/errors.ts'
import { GateError, type GateErrorCode } from '../killswitch/model.ts'
import { SignatureError } from '../sigv4/errors.ts'
import { XksError, type XksErrorName, isAllowed } from './errors.ts'

/** The compiler checks that this table is complete: the build fails if a new code has no row. */
export const BACKEND_ERRORS = {
  KEY_NOT_FOUND: 'KeyNotFoundException',
  KEY_DISABLED: 'InvalidStateException',
  // As with a disabled key, retrying would not change the key's state.
  KEY_NOT_ACTIVE: 'InvalidStateException',
  KEY_DEACTIVATED: 'InvalidStateException',
  KEY_USAGE: 'InvalidKeyUsageException',
  // The key is "deactivated" for encryption until it is rotated; decryption still works.
  KEY_EXHAUSTED: 'InvalidStateException',
  // Retrying would not change the key's state.
  KEY_REPLACED: 'InvalidStateException',
  KEY_EXISTS: 'InternalException',
  KEY_DATES_INVALID: 'InternalException',
  // This is the same error as for a wrong tag, so that the caller does not learn which versions
  // exist.
  VERSION_NOT_FOUND: 'InvalidCiphertextException',
  // This error differs from the one for a wrong tag, because a caller who still needs the version
  // must notice before the version is destroyed.
  VERSION_RETIRED: 'InvalidStateException',
  INTEGRITY_FAILURE: 'InvalidCiphertextException',
  LIMIT_EXCEEDED: 'UnsupportedOperationException',
  BUSY: 'ThrottlingException',
  TIMEOUT: 'DependencyTimeoutException',
  UNAVAILABLE: 'InternalException',
  MISCONFIGURED: 'InternalException',
  CONTRACT: 'InternalException',
} as const satisfies Record<BackendErrorCode, XksErrorName>

/**
 * KMS does not retry after either error. The specification provides AccessDenied for decisions on
 * request metadata; KMS then tells its caller that the proxy denied access. For InvalidState, KMS
 * says that the key is not enabled.
 */
export const GATE_ERRORS = {
  KILLED_ALL: 'InvalidStateException',
  KILLED_STORE: 'InvalidStateException',
  KILLED_KEY: 'InvalidStateException',
  KILLED_MATCH: 'AccessDeniedException',
  ACCESS_DEADLINE: 'InvalidStateException',
  LEASE_EXPIRED: 'InvalidStateException',
  EPOCH_WENT_BACK: 'InvalidStateException',
  STORE_LOST: 'InvalidStateException',
  HIGH_WATER_UNWRITABLE: 'InvalidStateException',
  SENTINEL: 'InvalidStateException',
  SIGNAL: 'InvalidStateException',
  STOPPED: 'InvalidStateException',
} as const satisfies Record<GateErrorCode, XksErrorName>

function toName(error: unknown): { errorName: XksErrorName; reason: string } {
  if (error instanceof BackendError) {
    return { errorName: BACKEND_ERRORS[error.code], reason: error.code }
  }
  if (error instanceof GateError) {
    return { errorName: GATE_ERRORS[error.code], reason: error.code }
  }
  if (error instanceof SignatureError) {
    return { errorName: 'AuthenticationFailedException', reason: error.code }
  }
  if (error instanceof DeadlineExceeded) {
    return { errorName: 'DependencyTimeoutException', reason: 'TIMEOUT' }
  }
  return { errorName: 'InternalException', reason: 'UNEXPECTED' }
}

/**
 * Reports whether a key manager is at fault, as opposed to the request, the key or a full queue.
 */
export function isManagerFailure(error: unknown): boolean {
  if (error instanceof DeadlineExceeded) return true
  return error instanceof BackendError && MANAGER_FAILURES.has(error.code)
}

const MANAGER_FAILURES: ReadonlySet<BackendErrorCode> = new Set([
  'TIMEOUT',
  'UNAVAILABLE',
  'MISCONFIGURED',
  'CONTRACT',
])

/**
 * Converts any thrown value to the error that KMS gets. An error name that the specification does
 * not list for the operation (as when the decrypt that verifies an Encrypt fails) becomes InternalException.
 */
export function toXksError(error: unknown, operation: Operation | undefined): XksError {
  if (error instanceof XksError) {
    if (isAllowed(error.errorName, operation)) return error
    return new XksError('InternalException', undefined, {
      reason: error.reason ?? error.errorName,
      cause: error,
    })
  }
  const { errorName, reason } = toName(error)
  // The key is not AES-256, or forbids AES-GCM. GetKeyMetadata must describe an AES_256 key, and
  // the specification lists no error name for any other key. On CreateKey, KMS reports InvalidState
  // as an invalid configuration of the external key, which is the actual problem.
  if (reason === 'KEY_USAGE' && operation === 'GetKeyMetadata') {
    return new XksError('InvalidStateException', undefined, { reason, cause: error })
  }
  const name = isAllowed(errorName, operation) ? errorName : 'InternalException'
  return new XksError(name, undefined, { reason, cause: error })
}
