/** The only place where our error codes become the names that KMS is given. */
// SPDX-License-Identifier: Apache-2.0
import { DeadlineExceeded } from '../core/deadline.ts'
import type { Operation } from '../core/request.ts'
import { BackendError, type BackendErrorCode } from '../keys/errors.ts'
import { GateError } from '../killswitch/model.ts'
import { SignatureError } from '../sigv4/errors.ts'
import { XksError, type XksErrorName, isAllowed } from './errors.ts'

/** The compiler checks that this table is complete: a new code without a row does not build. */
export const BACKEND_ERRORS = {
  KEY_NOT_FOUND: 'KeyNotFoundException',
  KEY_DISABLED: 'InvalidStateException',
  KEY_USAGE: 'InvalidKeyUsageException',
  // "Deactivated" for encryption until the key is rotated; decryption still works.
  KEY_EXHAUSTED: 'InvalidStateException',
  KEY_EXISTS: 'InternalException',
  // Indistinguishable from a wrong tag, so the caller does not learn which versions exist.
  VERSION_NOT_FOUND: 'InvalidCiphertextException',
  INTEGRITY_FAILURE: 'InvalidCiphertextException',
  LIMIT_EXCEEDED: 'UnsupportedOperationException',
  BUSY: 'ThrottlingException',
  TIMEOUT: 'DependencyTimeoutException',
  UNAVAILABLE: 'InternalException',
  MISCONFIGURED: 'InternalException',
  CONTRACT: 'InternalException',
} as const satisfies Record<BackendErrorCode, XksErrorName>

function toName(error: unknown): { errorName: XksErrorName; reason: string } {
  if (error instanceof BackendError) {
    return { errorName: BACKEND_ERRORS[error.code], reason: error.code }
  }
  // "Blocked": KMS does not retry, and its caller sees a deliberate refusal.
  if (error instanceof GateError) return { errorName: 'InvalidStateException', reason: error.code }
  if (error instanceof SignatureError) {
    return { errorName: 'AuthenticationFailedException', reason: error.code }
  }
  if (error instanceof DeadlineExceeded) {
    return { errorName: 'DependencyTimeoutException', reason: 'TIMEOUT' }
  }
  return { errorName: 'InternalException', reason: 'UNEXPECTED' }
}

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
  const name = isAllowed(errorName, operation) ? errorName : 'InternalException'
  return new XksError(name, undefined, { reason, cause: error })
}
