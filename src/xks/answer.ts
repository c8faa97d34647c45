/**
 * Finishes a request: the gate decides once more whether the response may be sent, and the request
 * is timed and recorded.
 */
// SPDX-License-Identifier: Apache-2.0
import type { RequestRecord } from '../core/request.ts'
import type { Gate } from '../killswitch/gate/gate.ts'
import type { Authorizer } from '../policy/authorizer.ts'
import type { ApiSchemas } from '../openapi/schemas.ts'
import { toXksError } from './error-map.ts'
import { XksError } from './errors.ts'
import type { RequestContext } from './request-context.ts'

export interface RawResponse {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Compact JSON. */
  readonly body: string
}

/**
 * Result of checking a request's signature. `unchecked` means that the request was rejected before
 * the check because its time had run out.
 */
export type SignatureState = 'good' | 'bad' | 'unchecked' | 'not required'

/**
 * A response that is ready to be sent. In the same tick as the write, the gate decides whether the
 * response may be sent.
 */
export interface Answer {
  readonly signature: SignatureState
  /**
   * The gate's second check. Call it right before the response is written, without awaiting
   * anything in between, and send what it returns: the response, or the refusal that replaces it.
   */
  release(): RawResponse
  /** Reports whether a released response would still be released now. */
  isAllowed(): boolean
  /**
   * Call once after the response has been written or abandoned: stops the timer and records the
   * request.
   */
  finish(): void
  /** Call once, when the kernel has accepted the entire released response. */
  sent(): void
}

export interface AnswerDeps {
  readonly schemas: ApiSchemas
  readonly gate: Gate
  readonly authorizer: Pick<Authorizer, 'decide' | 'allows'>
  /** Receives the finished record, for the log line and the metrics. Must not throw. */
  readonly onFinish: (record: RequestRecord) => void
  /**
   * Called when a response may have been sent after the lease under which it was released had
   * expired. Must not throw.
   */
  readonly onSentAfterLease: (record: RequestRecord) => void
}

export class GatedAnswer implements Answer {
  readonly #deps: AnswerDeps
  readonly #request: RequestContext
  readonly #response: RawResponse

  constructor(deps: AnswerDeps, request: RequestContext, response: RawResponse) {
    this.#deps = deps
    this.#request = request
    this.#response = response
  }

  get signature(): SignatureState {
    const { accessKeyId, errorName } = this.#request.record
    if (accessKeyId !== undefined) return 'good'
    return errorName === 'ThrottlingException' ? 'unchecked' : 'bad'
  }

  release(): RawResponse {
    const { pass, record } = this.#request
    // A refusal needs no release from the gate.
    if (pass === undefined) return this.#response
    try {
      if (!this.#isPermitted()) {
        this.#deps.gate.abandon(pass)
        throw new XksError('AccessDeniedException', undefined, { reason: 'POLICY_RECHECK' })
      }
      this.#deps.gate.release(pass)
      return this.#response
    } catch (thrown) {
      return renderError(this.#deps.schemas, toXksError(thrown, record.operation), record)
    }
  }

  isAllowed(): boolean {
    const { pass } = this.#request
    return pass === undefined || (this.#deps.gate.allows(pass) && this.#isPermitted())
  }

  /** Reports whether the current policies permit the request. */
  #isPermitted(): boolean {
    const { policyPass } = this.#request
    return policyPass === undefined || this.#deps.authorizer.allows(policyPass)
  }

  finish(): void {
    this.#request.timer.finish()
    this.#deps.onFinish(this.#request.record)
  }

  sent(): void {
    const { pass, record } = this.#request
    if (pass !== undefined && !this.#deps.gate.wasSentInLease()) this.#deps.onSentAfterLease(record)
  }
}

/** Renders the error response, and adds the error to the record. */
export function renderError(
  schemas: ApiSchemas,
  error: XksError,
  record: RequestRecord,
): RawResponse {
  record.status = error.status
  record.errorName = error.errorName
  if (error.reason !== undefined) record.reason = error.reason
  if (error.errorName === 'InternalException') record.fault = error.cause ?? error
  return {
    status: error.status,
    headers: error.headers,
    body: schemas.encode('ErrorResponse', {
      errorName: error.errorName,
      errorMessage: error.message,
    }),
  }
}
