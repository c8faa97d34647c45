/** The only place where our error codes become the names that KMS is given. */
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
  KEY_USAGE: 'InvalidKeyUsageException',
  // "Deactivated" for encryption until the key is rotated; decryption still works.
  KEY_EXHAUSTED: 'InvalidStateException',
  // A state of the key that no retry would change.
  KEY_REPLACED: 'InvalidStateException',
  KEY_EXISTS: 'InternalException',
  // Indistinguishable from a wrong tag, so the caller does not learn which versions exist.
  VERSION_NOT_FOUND: 'InvalidCiphertextException',
  // Differs from the error for a wrong tag, because a caller who still needs the version must
  // notice before it is destroyed.
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
 * KMS retries neither name. AccessDenied is the specification's name for a decision on request metadata, and KMS then tells its
 * caller that the proxy denied access; for InvalidState it says that the key is not enabled.
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

/** Reports whether a key manager failed, as opposed to the request, the key, or a queue that is full. */
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
 * Converts any thrown value to the error that KMS gets. A name that the specification does not list
 * for the operation (such as a failed verifying decrypt inside Encrypt) becomes InternalException.
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
  // A key that is not AES-256, or forbids AES-GCM: GetKeyMetadata must describe an AES_256 key, and its row of the table has no
  // name for another one. KMS reports InvalidState on CreateKey as an invalid configuration of the external key, which it is.
  if (reason === 'KEY_USAGE' && operation === 'GetKeyMetadata') {
    return new XksError('InvalidStateException', undefined, { reason, cause: error })
  }
  const name = isAllowed(errorName, operation) ? errorName : 'InternalException'
  return new XksError(name, undefined, { reason, cause: error })
}
