/** Audit log errors. */
// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path'
import { type ErrorOptionsWithHint, LatchkeyError } from '../core/errors.ts'

export type AuditErrorCode =
  | 'AUDIT_UNWRITABLE' // the log cannot be written (permissions, full disk)
  | 'AUDIT_INVALID' // a log, a proof or an export is not valid
  | 'AUDIT_UNKNOWN' // a log is valid on its own, but the control log has no record of it
  | 'AUDIT_DIFFERS' // the logs disagree with CloudTrail or with GetKeyLastUsage
  | 'AUDIT_NOT_FOUND' // no log or entry has this name

export class AuditError extends LatchkeyError<AuditErrorCode> {
  override readonly name = 'AuditError'
  /** Message for callers on other hosts. It contains the log's name but not its path. */
  readonly remoteMessage: string

  /** @param options `folder` is the log's folder, if the message contains it */
  constructor(
    code: AuditErrorCode,
    message: string,
    { folder, ...options }: ErrorOptionsWithHint & { readonly folder?: string } = {},
  ) {
    super(code, message, options)
    this.remoteMessage =
      folder === undefined ? message : message.replaceAll(folder, basename(folder))
  }
}

/** @param what the problem with the log in this folder */
export function invalidLog(
  folder: string,
  what: string,
  options: ErrorOptionsWithHint = {},
): AuditError {
  return new AuditError('AUDIT_INVALID', `${folder}: ${what}`, { ...options, folder })
}

export function unwritableLog(why: string): AuditError {
  return new AuditError('AUDIT_UNWRITABLE', `cannot write the audit log: ${why}`)
}
