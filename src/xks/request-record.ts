/** The one record of a request. The log line, and later the metrics and the audit, are made from it. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../base/clock.ts'
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

/** Milliseconds by stage. All fields are there from the start: objects of one shape are fast. */
export type StageTimes = Record<Stage, number | undefined>

/** Where the time goes that an error left over: to the stage behind the last one that was passed. */
const NEXT: Readonly<Record<Stage, Stage>> = {
  read: 'auth',
  auth: 'decode',
  decode: 'gate',
  gate: 'key',
  key: 'backend',
  policy: 'backend',
  backend: 'verify',
  verify: 'encode',
  encode: 'encode',
}

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
  /** Milliseconds by stage; only the stages that the request reached. */
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

export function startRecord(head: RequestHead, clock: Clock): RequestRecord {
  return {
    at: clock.now() - (clock.monotonic() - head.startedAt),
    remoteAddress: head.remoteAddress,
    httpVersion: head.httpVersion,
    method: head.method,
    target: head.target,
    bodyBytes: head.body.length,
    stages: noStages(),
    tlsMs: head.tlsMs,
  }
}

/** Attributes the time since the last mark to a stage. */
export interface StageTimer {
  mark(stage: Stage): void
  /** Attributes some milliseconds of a stage that was marked to another one. */
  move(from: Stage, to: Stage, ms: number): void
  /** An error ended the stage that was under way. */
  fail(): void
  /** Ends the account: what is left is the answer's. */
  finish(): void
}

/** @param startedAt monotonic milliseconds of the request's first byte */
export function createStageTimer(
  record: RequestRecord,
  clock: Clock,
  startedAt: number,
): StageTimer {
  const { stages } = record
  let last = startedAt
  let underWay: Stage = 'read'
  let isEnded = false
  function mark(stage: Stage): void {
    // Work that a deadline gave up goes on, and its times are nobody's.
    if (isEnded) return
    const now = clock.monotonic()
    stages[stage] = (stages[stage] ?? 0) + now - last
    last = now
    underWay = NEXT[stage]
  }
  return {
    mark,
    fail() {
      mark(underWay)
    },
    move(from, to, ms) {
      if (isEnded) return
      const moved = Math.min(ms, record.stages[from] ?? 0)
      record.stages[from] = (record.stages[from] ?? 0) - moved
      record.stages[to] = (record.stages[to] ?? 0) + moved
    },
    finish() {
      mark('encode')
      isEnded = true
      record.totalMs = last - startedAt
    },
  }
}

function noStages(): StageTimes {
  return {
    read: undefined,
    auth: undefined,
    decode: undefined,
    gate: undefined,
    key: undefined,
    policy: undefined,
    backend: undefined,
    verify: undefined,
    encode: undefined,
  }
}
