/** Errors of the admin API. Each refusal has a code, a message and a status. */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError, type ErrorOptionsWithHint } from '../core/errors.ts'

export type AdminErrorCode =
  | 'UNAUTHENTICATED' // neither a known certificate nor a known token
  | 'FORBIDDEN' // the caller's role does not allow the call
  | 'CROSS_SITE' // a browser sent the request on behalf of another site's page
  | 'WRONG_HOST' // the Host header does not name this listener
  | 'CONTENT_TYPE' // the content type of a POST is not application/json
  | 'INPUT_INVALID' // the body does not match openapi.yaml
  | 'NOT_FOUND' // there is no such path, switch or receipt
  | 'CONFLICT' // the requested action was already taken, or a second person must approve it first
  | 'UNAVAILABLE' // the control store is not responding
  | 'INTERNAL' // internal error; see the log

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

  /** The service's own error code, which is more specific than `code`. */
  readonly reason: string | undefined
  /** All errors in a document, if the service lists them. */
  readonly faults: readonly AdminFault[] | undefined
  /** Time after which the caller may try again. */
  readonly retryAfterSeconds: number | undefined

  constructor(
    code: AdminErrorCode,
    message: string,
    options: ErrorOptionsWithHint & {
      readonly reason?: string
      readonly faults?: readonly AdminFault[]
      readonly retryAfterSeconds?: number
    } = {},
  ) {
    super(code, message, options)
    this.reason = options.reason
    this.faults = options.faults
    this.retryAfterSeconds = options.retryAfterSeconds
  }

  get status(): number {
    return ADMIN_STATUS[this.code]
  }

  get headers(): Readonly<Record<string, string>> {
    const { code, retryAfterSeconds } = this
    return {
      ...(code === 'UNAUTHENTICATED' && { 'www-authenticate': 'Bearer' }),
      ...(retryAfterSeconds !== undefined && { 'retry-after': String(retryAfterSeconds) }),
    }
  }
}
