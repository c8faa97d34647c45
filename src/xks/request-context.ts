/** The state of one request in the pipeline: its input, record, times and deadline. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyStore } from './key-store.ts'
import type { Clock } from '../core/clock.ts'
import { Deadline } from '../core/deadline.ts'
import { type RequestRecord, type Stage, STAGES } from '../core/request.ts'
import type { GatePass } from '../killswitch/gate/gate.ts'
import type { PolicyPass } from '../policy/authorizer.ts'
import type { XksError } from './errors.ts'

/** A complete request as received from the wire. */
export interface RawRequest {
  readonly method: string
  readonly target: string
  /** Alternating names and values, in the order received and including duplicates. */
  readonly rawHeaders: readonly string[]
  readonly contentType: string | undefined
  readonly body: Buffer
  readonly httpVersion: string
  readonly remoteAddress: string
  /** Monotonic time of the first byte, in milliseconds. */
  readonly startedAt: number
  /** Handshake duration in milliseconds; set only on a connection's first request. */
  readonly tlsMs?: number | undefined
  /** Protocol, such as `TLSv1.3`, and the client certificate's common name if mTLS terminates here. */
  readonly tls?: { readonly version: string; readonly clientName?: string | undefined } | undefined
  /** Reports whether the caller has gone away. */
  readonly isGone?: () => boolean
  /** An error that the listener found before the request was complete. */
  readonly fault?: XksError | undefined
}

export interface RequestContext {
  readonly raw: RawRequest
  readonly record: RequestRecord
  readonly timer: StageTimer
  /** Deadline, counted from the request's first byte, as KMS counts its own. */
  readonly deadline: Deadline
  /**
   * The pass from the gate's first check; undefined before the check, and after the request has
   * failed.
   */
  pass: GatePass | undefined
  /** The key store at the request's path; undefined until the path has been parsed. */
  keyStore: KeyStore | undefined
  /** The policies' decision; undefined until they have decided, and for GetHealthStatus. */
  policyPass: PolicyPass | undefined
}

/**
 * Index of the stage that follows each stage. After an error, the remaining time is attributed to
 * the following stage.
 */
const NEXT: readonly number[] = STAGES.map((_, i) => Math.min(i + 1, STAGES.length - 1))

/** Attributes the time since the last call to a stage. */
export interface StageTimer {
  end(stage: Stage): void
  /** Moves milliseconds that were attributed to one stage to another. */
  move(from: Stage, to: Stage, ms: number): void
  /** Attributes the time since the last call to the stage that an error interrupted. */
  fail(): void
  /** Stops the timer, attributing the remaining time to the response. */
  finish(): void
}

/** A timer is created for each request, so this is a class: closures would cost more. */
class Timer implements StageTimer {
  readonly #record: RequestRecord
  readonly #times: number[]
  readonly #clock: Clock
  readonly #startedAt: number
  #last: number
  #underWay = 0
  #isEnded = false

  constructor(record: RequestRecord, times: number[], clock: Clock, startedAt: number) {
    this.#record = record
    this.#times = times
    this.#clock = clock
    this.#startedAt = startedAt
    this.#last = startedAt
  }

  end(stage: Stage): void {
    this.#markIndex(STAGES.indexOf(stage))
  }

  fail(): void {
    this.#markIndex(this.#underWay)
  }

  move(from: Stage, to: Stage, ms: number): void {
    if (this.#isEnded) return
    const moved = Math.min(ms, orZero(this.#times[STAGES.indexOf(from)]))
    this.#add(STAGES.indexOf(from), -moved)
    this.#add(STAGES.indexOf(to), moved)
  }

  finish(): void {
    this.end('encode')
    this.#isEnded = true
    this.#record.totalMs = this.#last - this.#startedAt
  }

  #markIndex(index: number): void {
    // Work that was abandoned at a deadline continues to run, but its time no longer counts.
    if (this.#isEnded) return
    const now = this.#clock.monotonic()
    this.#add(index, now - this.#last)
    this.#last = now
    this.#underWay = NEXT[index] ?? index
  }

  #add(index: number, ms: number): void {
    this.#times[index] = orZero(this.#times[index]) + ms
  }
}

function orZero(ms: number | undefined): number {
  return ms === undefined || Number.isNaN(ms) ? 0 : ms
}

/** All elements are numbers from the start, so that V8 keeps them unboxed. */
function noStages(): number[] {
  return [NaN, NaN, NaN, NaN, NaN, NaN, NaN, NaN, NaN]
}

/** Creates the context of a request that has just been read. */
export function createRequestContext(
  raw: RawRequest,
  clock: Clock,
  deadlineMs: number,
): RequestContext {
  const stages = noStages()
  const record: RequestRecord = {
    at: clock.now() - (clock.monotonic() - raw.startedAt),
    remoteAddress: raw.remoteAddress,
    httpVersion: raw.httpVersion,
    method: raw.method,
    target: raw.target,
    bodyBytes: raw.body.length,
    stages,
    tlsMs: raw.tlsMs,
    // Every field exists from the start. V8 would otherwise copy a record whenever it grows.
    keyStore: undefined,
    operation: undefined,
    keyId: undefined,
    accessKeyId: undefined,
    region: undefined,
    metadata: undefined,
    isProbe: undefined,
    accessClass: undefined,
    policies: undefined,
    policyRevision: undefined,
    shadowDenial: undefined,
    keyVersion: undefined,
    gateEpoch: undefined,
    sealedSha256: undefined,
    status: undefined,
    errorName: undefined,
    reason: undefined,
    totalMs: undefined,
  }
  const timer = new Timer(record, stages, clock, raw.startedAt)
  const deadline = new Deadline(clock, deadlineMs, raw)
  return {
    raw,
    record,
    timer,
    deadline,
    pass: undefined,
    keyStore: undefined,
    policyPass: undefined,
  }
}
