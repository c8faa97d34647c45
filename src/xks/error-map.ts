/** The one border between our errors and XKS's: every internal code and the name KMS is given for it. */
// SPDX-License-Identifier: Apache-2.0
import { DeadlineExceeded } from '../core/deadline.ts'
import type { Operation } from '../core/request.ts'
import { BackendError, type BackendErrorCode } from '../keys/errors.ts'
import { GateError } from '../killswitch/model.ts'
import { SignatureError } from '../sigv4/errors.ts'
import { XksError, type XksErrorName, isAllowed } from './errors.ts'

/** The compiler proves this table complete: a new code without a row does not build. */
export const BACKEND_ERRORS = {
  KEY_NOT_FOUND: 'KeyNotFoundException',
  KEY_DISABLED: 'InvalidStateException',
  KEY_USAGE: 'InvalidKeyUsageException',
  // "Deactivated" for encryption until it is rotated; decryption goes on.
  KEY_EXHAUSTED: 'InvalidStateException',
  KEY_EXISTS: 'InternalException',
  // Indistinguishable from a wrong tag: the caller learns nothing about which versions exist.
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
  // "Blocked": KMS does not try again, and its caller sees that somebody said no.
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
 * Any thrown value as the error that KMS gets. A name that the specification does not list for the
 * operation (a failed verifying decrypt inside Encrypt, say) becomes InternalException.
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
