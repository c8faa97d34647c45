/** Converts the errors of all services behind the admin listener to errors that callers may see. */
// SPDX-License-Identifier: Apache-2.0
import { AdminError, type AdminErrorCode } from '../admin/errors.ts'
import { AuditError, type AuditErrorCode } from '../audit/errors.ts'
import { LatchkeyError } from '../core/errors.ts'
import { BackendError, type BackendErrorCode } from '../keys/errors.ts'
import { ControlError, type ControlErrorCode } from '../killswitch/model.ts'
import { OperatorError, type OperatorErrorCode } from '../admin/operators/directory.ts'
import { PolicyError, type PolicyErrorCode } from '../policy/cedar.ts'
import { RetirementError, type RetirementErrorCode } from '../retirement/errors.ts'
import { CredentialError, type CredentialErrorCode } from '../sigv4/credential-table.ts'
import { StorageError } from '../store/database.ts'

const CONTROL_ERRORS: Readonly<Record<ControlErrorCode, AdminErrorCode>> = {
  NOTHING_KILLED: 'NOT_FOUND',
  NO_SUCH_REQUEST: 'NOT_FOUND',
  NO_SUCH_RECEIPT: 'NOT_FOUND',
  NOT_REVOKED: 'UNAVAILABLE',
  NOT_READY: 'CONFLICT',
  REQUEST_EXPIRED: 'CONFLICT',
  RESTORE_NEEDED: 'FORBIDDEN',
  SAME_PERSON: 'CONFLICT',
  RESTORED_MEANWHILE: 'CONFLICT',
}

const BACKEND_ERRORS: Readonly<Record<BackendErrorCode, AdminErrorCode>> = {
  KEY_NOT_FOUND: 'NOT_FOUND',
  VERSION_NOT_FOUND: 'NOT_FOUND',
  KEY_EXISTS: 'CONFLICT',
  KEY_DISABLED: 'CONFLICT',
  KEY_NOT_ACTIVE: 'CONFLICT',
  KEY_DEACTIVATED: 'CONFLICT',
  KEY_DATES_INVALID: 'INPUT_INVALID',
  KEY_USAGE: 'CONFLICT',
  KEY_EXHAUSTED: 'CONFLICT',
  KEY_REPLACED: 'CONFLICT',
  VERSION_RETIRED: 'CONFLICT',
  LIMIT_EXCEEDED: 'INPUT_INVALID',
  BUSY: 'UNAVAILABLE',
  TIMEOUT: 'UNAVAILABLE',
  UNAVAILABLE: 'UNAVAILABLE',
  MISCONFIGURED: 'UNAVAILABLE',
  INTEGRITY_FAILURE: 'INTERNAL',
  CONTRACT: 'INTERNAL',
}

const CREDENTIAL_ERRORS: Readonly<Record<CredentialErrorCode, AdminErrorCode>> = {
  CREDENTIAL_INVALID: 'INPUT_INVALID',
  CREDENTIAL_EXISTS: 'CONFLICT',
  CREDENTIAL_NOT_FOUND: 'NOT_FOUND',
  CREDENTIAL_REVOKED: 'CONFLICT',
}

const POLICY_ERRORS: Readonly<Record<PolicyErrorCode, AdminErrorCode>> = {
  POLICY_INVALID: 'INPUT_INVALID',
  POLICY_NOT_FOUND: 'NOT_FOUND',
  POLICY_UNCHANGED: 'CONFLICT',
  POLICY_IN_FILES: 'CONFLICT',
  POLICY_CHANGED: 'CONFLICT',
  POLICY_NOT_EVERYWHERE: 'UNAVAILABLE',
  POLICY_TESTS_FAILED: 'CONFLICT',
  POLICY_FAILED: 'INTERNAL',
}

const OPERATOR_ERRORS: Readonly<Record<OperatorErrorCode, AdminErrorCode>> = {
  OPERATOR_NOT_FOUND: 'NOT_FOUND',
  OPERATOR_INVALID: 'INPUT_INVALID',
  TOKEN_NOT_FOUND: 'NOT_FOUND',
}

const AUDIT_ERRORS: Readonly<Record<AuditErrorCode, AdminErrorCode>> = {
  AUDIT_NOT_FOUND: 'NOT_FOUND',
  AUDIT_INVALID: 'UNAVAILABLE',
  AUDIT_UNWRITABLE: 'UNAVAILABLE',
  AUDIT_UNKNOWN: 'CONFLICT',
  AUDIT_DIFFERS: 'CONFLICT',
}

const RETIREMENT_ERRORS: Readonly<Record<RetirementErrorCode, AdminErrorCode>> = {
  NOT_QUIET: 'CONFLICT',
  ALREADY_RETIRED: 'CONFLICT',
  NO_RETIREMENT: 'NOT_FOUND',
  NOT_APPROVED: 'CONFLICT',
}

/**
 * Messages of Latchkey's own errors are sent to the caller. Any other error is reported only as an
 * internal error.
 */
export function toAdminError(error: unknown): AdminError {
  if (error instanceof StorageError) {
    return convert(error, 'UNAVAILABLE', `the control store failed: ${error.code}`)
  }
  if (error instanceof ControlError) return convert(error, CONTROL_ERRORS[error.code])
  if (error instanceof BackendError) return convert(error, BACKEND_ERRORS[error.code])
  if (error instanceof CredentialError) return convert(error, CREDENTIAL_ERRORS[error.code])
  if (error instanceof RetirementError) return convert(error, RETIREMENT_ERRORS[error.code])
  if (error instanceof PolicyError) {
    // Replace the policy service's message, because it names the folder.
    const message =
      error.code === 'POLICY_IN_FILES'
        ? 'the policies come from files, not from the store'
        : undefined
    return convert(error, POLICY_ERRORS[error.code], message)
  }
  if (error instanceof OperatorError) return convert(error, OPERATOR_ERRORS[error.code])
  if (error instanceof AuditError) {
    return convert(error, AUDIT_ERRORS[error.code], error.remoteMessage)
  }
  return convert(error, 'INTERNAL')
}

function convert(error: unknown, code: AdminErrorCode, message?: string): AdminError {
  if (code === 'INTERNAL' || !isOurs(error)) {
    return new AdminError('INTERNAL', 'internal error; see the log', { cause: error })
  }
  return new AdminError(code, message ?? error.message, {
    ...{ cause: error, reason: error.code },
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    ...(error instanceof PolicyError && error.faults && { faults: error.faults }),
  })
}

function isOurs(error: unknown): error is LatchkeyError {
  return error instanceof LatchkeyError
}
