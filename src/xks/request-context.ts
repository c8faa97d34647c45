/** What one request carries through the pipeline: what came in, its record, its times, its deadline. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'
import { Deadline } from '../core/deadline.ts'
import { type RequestRecord, type Stage, STAGES } from '../core/request.ts'
import type { GatePass } from '../killswitch/gate/gate.ts'
import type { XksError } from './errors.ts'

/** A request as it came off the wire, whole. */
export interface RawRequest {
  readonly method: string
  readonly target: string
  /** Name, value, name, value: duplicates and order as received. */
  readonly rawHeaders: readonly string[]
  readonly contentType: string | undefined
  readonly body: Buffer
  readonly httpVersion: string
  readonly remoteAddress: string
  /** Monotonic milliseconds of the first byte. */
  readonly startedAt: number
  /** Milliseconds of the handshake, on the first request of a connection. */
  readonly tlsMs?: number | undefined
  /** Whether the caller has gone away. */
  readonly isGone?: () => boolean
  /** A fault that the listener found before there was a whole request. */
  readonly fault?: XksError | undefined
}

export interface RequestContext {
  readonly raw: RawRequest
  readonly record: RequestRecord
  readonly timer: StageTimer
  /** Counts from the first byte on, as KMS does. */
  readonly deadline: Deadline
  /** The gate's first yes, from `gate.check` on; a request that fails has none. */
  pass: GatePass | undefined
}

/** Where the time goes that an error left over: to the stage behind the last one that was passed. */
const NEXT: readonly number[] = STAGES.map((stage) => {
  // No policy is asked yet, so what fails after `key` failed in the backend.
  const next = stage === 'key' ? 'backend' : STAGES[STAGES.indexOf(stage) + 1]
  return STAGES.indexOf(next ?? 'encode')
})

/** Attributes the time since the last mark to a stage. */
export interface StageTimer {
  end(stage: Stage): void
  /** Attributes some milliseconds of a stage that was marked to another one. */
  move(from: Stage, to: Stage, ms: number): void
  /** An error ended the stage that was under way. */
  fail(): void
  /** Ends the account: what is left is the answer's. */
  finish(): void
}

/** An object of a class, as there is one for each request: closures would cost more. */
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
    // Work that a deadline gave up goes on, and its times are nobody's.
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

/** Numbers of one kind from the start: V8 keeps them unboxed. */
function noStages(): number[] {
  return [NaN, NaN, NaN, NaN, NaN, NaN, NaN, NaN, NaN]
}

/** The context of a request that has just been read. */
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
  }
  const timer = new Timer(record, stages, clock, raw.startedAt)
  return { raw, record, timer, deadline: new Deadline(clock, deadlineMs, raw), pass: undefined }
}
