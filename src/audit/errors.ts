/** Audit log errors. */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError } from '../core/errors.ts'

export type AuditErrorCode =
  | 'AUDIT_UNWRITABLE' // the log cannot be written: folder, permissions, a full disk
  | 'AUDIT_INVALID' // a log, a proof or an export is not valid
  | 'AUDIT_DIFFERS' // the logs and CloudTrail disagree
  | 'AUDIT_NOT_FOUND' // there is no log or entry of this name

export class AuditError extends LatchkeyError<AuditErrorCode> {
  override readonly name = 'AuditError'
}
