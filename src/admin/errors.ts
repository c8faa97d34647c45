/** Admin API errors: each refusal has a code, a message and a status. */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError, type ErrorOptionsWithHint } from '../core/errors.ts'

export type AdminErrorCode =
  | 'UNAUTHENTICATED' // neither a known certificate nor a known token
  | 'FORBIDDEN' // the role does not allow it
  | 'CROSS_SITE' // a page of another site made a browser send it
  | 'WRONG_HOST' // the Host header has a name that is not this listener's
  | 'CONTENT_TYPE' // a POST without application/json
  | 'INPUT_INVALID' // the body does not match openapi.yaml
  | 'NOT_FOUND' // there is no such path, switch or receipt
  | 'CONFLICT' // the action was already taken, or needs the approval of a second person first
  | 'UNAVAILABLE' // the control store does not answer
  | 'INTERNAL' // an internal fault; see the log

export const ADMIN_STATUS: Readonly<Record<AdminErrorCode, number>> = {
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  CROSS_SITE: 403,
  WRONG_HOST: 421,
  CONTENT_TYPE: 415,
  INPUT_INVALID: 400,
  NOT_FOUND: 404,
  CONFLICT: 409,
  UNAVAILABLE: 503,
  INTERNAL: 500,
}

interface AdminFault {
  readonly path: string
  readonly message: string
}

export class AdminError extends LatchkeyError<AdminErrorCode> {
  override readonly name = 'AdminError'

  /** Code of the service's own error, more precise than `code`. */
  readonly reason: string | undefined
  /** Every fault of a document, if the service lists them. */
  readonly faults: readonly AdminFault[] | undefined

  constructor(
    code: AdminErrorCode,
    message: string,
    options: ErrorOptionsWithHint & {
      readonly reason?: string
      readonly faults?: readonly AdminFault[]
    } = {},
  ) {
    super(code, message, options)
    this.reason = options.reason
    this.faults = options.faults
  }

  get status(): number {
    return ADMIN_STATUS[this.code]
  }
}
