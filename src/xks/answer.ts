/** The end of a request: its answer, which the gate may still take back, and the closing of its account. */
// SPDX-License-Identifier: Apache-2.0
import type { RequestRecord } from '../core/request.ts'
import type { Gate } from '../killswitch/gate/gate.ts'
import type { ApiSchemas } from '../openapi/schemas.ts'
import { toXksError } from './error-map.ts'
import type { XksError } from './errors.ts'
import type { RequestContext } from './request-context.ts'

export interface RawResponse {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>> | undefined
  /** Compact JSON. */
  readonly body: string
}

/** What is to be sent; whether it may be sent is decided in the tick in which it is. */
export interface Answer {
  /** Whether the request had a good signature; undefined where none is asked for. */
  readonly isSigned: boolean | undefined
  /**
   * The gate's second check, called right before the answer is written, with nothing awaited in
   * between. What it returns is sent: the answer, or the refusal that it has become.
   */
  release(): RawResponse
  /** Whether an answer that was released would be released now as well. */
  isAllowed(): boolean
  /** Once, after it was written or given up: ends the account and records the request. */
  finish(): void
  /** Once, when all of a released answer is with the kernel. */
  sent(): void
}

export interface AnswerDeps {
  readonly schemas: ApiSchemas
  readonly gate: Gate
  /** Renders the record: log line, and later metrics and audit. Must not throw. */
  readonly onFinish: (record: RequestRecord) => void
  /** An answer may have left after the lease under which it was released. Must not throw. */
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

  get isSigned(): boolean {
    return this.#request.record.accessKeyId !== undefined
  }

  release(): RawResponse {
    const { pass, record } = this.#request
    // A refusal needs no yes of the gate.
    if (pass === undefined) return this.#response
    try {
      this.#deps.gate.release(pass)
      return this.#response
    } catch (thrown) {
      return renderError(this.#deps.schemas, toXksError(thrown, record.operation), record)
    }
  }

  isAllowed(): boolean {
    const { pass } = this.#request
    return pass === undefined || this.#deps.gate.allows(pass)
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

/** The answer that says what went wrong; the record then says so, too. */
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
