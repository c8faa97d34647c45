/** The one record of a request. The log line, and later the metrics and the audit, are made from it. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'
import type { Operation, XksErrorName } from './errors.ts'

/** In the order in which a request meets them. Handshakes are of connections, and counted apart. */
export const STAGES = [
  'read',
  'auth',
  'decode',
  'gate',
  'key',
  'policy',
  'backend',
  'verify',
  'encode',
] as const
export type Stage = (typeof STAGES)[number]

/** Milliseconds in the order of STAGES; NaN: the request did not reach it. */
export type StageTimes = readonly number[]

/** Where the time goes that an error left over: to the stage behind the last one that was passed. */
const NEXT: readonly number[] = STAGES.map((stage) => {
  // No policy is asked yet, so what fails after `key` failed in the backend.
  const next = stage === 'key' ? 'backend' : STAGES[STAGES.indexOf(stage) + 1]
  return STAGES.indexOf(next ?? 'encode')
})

/**
 * Filled field by field from typed values as the request goes along: an allow-list, so plaintext,
 * ciphertext and secrets have no place in it.
 */
export interface RequestRecord {
  /** Wall time of the first byte, milliseconds since the Unix epoch. */
  readonly at: number
  readonly remoteAddress: string
  readonly httpVersion: string
  readonly method: string
  readonly target: string
  readonly bodyBytes: number
  keyStore?: string
  operation?: Operation
  keyId?: string
  accessKeyId?: string
  region?: string
  metadata?: RequestMetadata
  keyVersion?: number
  status?: number
  errorName?: XksErrorName
  /** Our own code for what went wrong; more precise than what KMS is told. */
  reason?: string
  /** After a failed signature, to find the request again: hex SHA-256 of the body. */
  bodySha256?: string
  /** After a failed signature: what the body claims, trusted by nobody. */
  unverifiedKmsRequestId?: string
  /** What was thrown, when that is a fault of ours. */
  fault?: unknown
  readonly stages: StageTimes
  /** From the first byte to the moment in which the answer was handed to the socket. */
  totalMs?: number
  /** The handshake, on the first request of a connection. */
  readonly tlsMs?: number | undefined
}

/** XKS 1.0.3, requestMetadata, as logged: known fields, and unknown ones apart. */
export interface RequestMetadata {
  readonly awsPrincipalArn?: string
  readonly awsSourceVpc?: string
  readonly awsSourceVpce?: string
  readonly kmsKeyArn?: string
  readonly kmsOperation: string
  readonly kmsRequestId: string
  readonly kmsViaService?: string
  /** Fields that KMS may add one day (Appendix B). */
  readonly other?: Readonly<Record<string, unknown>>
}

/** What the listener knows of a request when it hands it over. */
export interface RequestHead {
  readonly method: string
  readonly target: string
  readonly body: Buffer
  readonly httpVersion: string
  readonly remoteAddress: string
  /** Monotonic milliseconds of the first byte. */
  readonly startedAt: number
  /** Of the handshake, when this is the first request of its connection. */
  readonly tlsMs?: number | undefined
}

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

/** The record of a request that has just been read, and what keeps its account. */
export function startRecord(
  head: RequestHead,
  clock: Clock,
): { readonly record: RequestRecord; readonly timer: StageTimer } {
  const stages = noStages()
  const record: RequestRecord = {
    at: clock.now() - (clock.monotonic() - head.startedAt),
    remoteAddress: head.remoteAddress,
    httpVersion: head.httpVersion,
    method: head.method,
    target: head.target,
    bodyBytes: head.body.length,
    stages,
    tlsMs: head.tlsMs,
  }
  return { record, timer: new Timer(record, stages, clock, head.startedAt) }
}
