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
  /** Alternating names and values; duplicates and order as received. */
  readonly rawHeaders: readonly string[]
  readonly contentType: string | undefined
  readonly body: Buffer
  readonly httpVersion: string
  readonly remoteAddress: string
  /** Monotonic milliseconds of the first byte. */
  readonly startedAt: number
  /** Milliseconds of the handshake, on the first request of a connection. */
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
  /** Deadline, counted from the first byte as KMS does. */
  readonly deadline: Deadline
  /** The pass from the gate's first check; undefined before it and after a failure. */
  pass: GatePass | undefined
  /** The key store of the path; undefined before that is known. */
  keyStore: KeyStore | undefined
  /** Decision of the policies; undefined before it, and for GetHealthStatus. */
  policyPass: PolicyPass | undefined
}

/** Index of the stage after each stage. After an error, the remaining time is attributed to it. */
const NEXT: readonly number[] = STAGES.map((_, i) => Math.min(i + 1, STAGES.length - 1))

/** Attributes the time since the last call to a stage. */
export interface StageTimer {
  end(stage: Stage): void
  /** Moves milliseconds that were attributed to one stage to another. */
  move(from: Stage, to: Stage, ms: number): void
  /** Attributes the time since the last call to the stage in progress when an error ended it. */
  fail(): void
  /** Stops the timer; the remaining time counts for the answer. */
  finish(): void
}

/** A class, because closures would cost more: one is created for each request. */
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
    // Work abandoned at a deadline still runs, but its time no longer counts.
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
