/** The log line of a request: its fields, their schema, and its text. */
// SPDX-License-Identifier: Apache-2.0
import fastJson, { type Schema } from 'fast-json-stringify'
import type { Logger } from '../core/logger.ts'
import {
  type RequestMetadata,
  type RequestRecord,
  STAGES,
  type Stage,
  type StageTimes,
} from '../core/request.ts'
import type { Line } from './log-format.ts'
import type { Log } from './log.ts'

/**
 * Maximum length of a field whose value comes from outside. ARNs have up to 2,048 characters (XKS
 * 1.0.3).
 */
const MAX_TEXT = 2048
const MAX_OTHER_FIELDS = 16
/** The numeric `level` of an `info` line. */
const INFO_LEVEL = 30

const NO_METADATA: Partial<RequestMetadata> = {}

const text = { type: 'string' } as const
/** Names, IDs and codes that were validated and contain no characters that need JSON escaping. */
const token = { type: 'string', format: 'unsafe' } as const
const count = { type: 'integer' } as const
const milliseconds = { type: 'number' } as const

/** A line's fields, in order. docs/logging.md describes each of them. */
export const LINE_SCHEMA = {
  type: 'object',
  properties: {
    level: count,
    time: token,
    worker: count,
    keyStore: token,
    operation: token,
    keyId: token,
    keyVersion: count,
    status: count,
    errorName: token,
    reason: token,
    kmsRequestId: text,
    kmsOperation: text,
    awsPrincipalArn: text,
    kmsKeyArn: text,
    kmsViaService: text,
    awsSourceVpc: text,
    awsSourceVpce: text,
    otherMetadata: { type: 'object', additionalProperties: text },
    accessClass: token,
    isProbe: { type: 'boolean' },
    policies: { type: 'array', items: text },
    policyRevision: count,
    shadowDenial: {
      type: 'object',
      properties: { reason: token, policies: { type: 'array', items: text } },
    },
    accessKeyId: token,
    region: token,
    bodySha256: token,
    unverifiedKmsRequestId: text,
    remoteAddress: text,
    http: token,
    method: text,
    target: text,
    bodyBytes: count,
    totalMs: milliseconds,
    tlsMs: milliseconds,
    stagesMs: {
      type: 'object',
      properties: Object.fromEntries(STAGES.map((stage) => [stage, milliseconds])),
    },
    msg: token,
  },
} as const

const serialize = fastJson(LINE_SCHEMA as unknown as Schema)

/**
 * Requests that got a response, including a refusal, are logged at `info`; errors in Latchkey
 * itself are logged at `error`, with the stack. Only the fields of LINE_SCHEMA can be logged.
 */
export function createRequestLog(log: Log): (record: RequestRecord) => void {
  const { logger, convert } = log
  const render = convert === undefined ? serialize : (line: Line) => JSON.stringify(convert(line))
  return (record) => {
    const line = toLine(record, INFO_LEVEL, log.worker)
    if (record.fault !== undefined) {
      // The logger adds its own level, time and worker.
      const fields = {
        ...line,
        level: undefined,
        time: undefined,
        worker: undefined,
        msg: undefined,
      }
      logger.error('request', { ...fields, err: record.fault })
    } else if (log.logsInfo) log.writeAscii(toAscii(render(line)))
  }
}

/**
 * Escapes non-ASCII characters. JSON parsers read an escape as the character itself, but no
 * terminal or editor interprets it.
 */
function toAscii(json: string): string {
  return json.replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** Returns a line's fields with their values. */
function toLine(record: RequestRecord, level: number, worker: number | undefined) {
  const metadata: Partial<RequestMetadata> = record.metadata ?? NO_METADATA
  // Method and target are logged only when no operation was recognized; otherwise, they add nothing
  // to the operation.
  const isUnknown = record.operation === undefined
  return {
    level,
    time: new Date(record.at).toISOString(),
    worker,
    keyStore: record.keyStore,
    operation: record.operation,
    keyId: record.keyId,
    keyVersion: record.keyVersion,
    status: record.status,
    errorName: record.errorName,
    reason: record.reason,
    kmsRequestId: clip(metadata.kmsRequestId),
    kmsOperation: clip(metadata.kmsOperation),
    awsPrincipalArn: clip(metadata.awsPrincipalArn),
    kmsKeyArn: clip(metadata.kmsKeyArn),
    kmsViaService: clip(metadata.kmsViaService),
    awsSourceVpc: clip(metadata.awsSourceVpc),
    awsSourceVpce: clip(metadata.awsSourceVpce),
    otherMetadata: metadata.other === undefined ? undefined : clipAll(metadata.other),
    accessClass: record.accessClass,
    isProbe: record.isProbe,
    policies: record.policies,
    policyRevision: record.policyRevision,
    shadowDenial: record.shadowDenial,
    accessKeyId: record.accessKeyId,
    region: record.region,
    bodySha256: record.bodySha256,
    unverifiedKmsRequestId: record.unverifiedKmsRequestId,
    remoteAddress: record.remoteAddress,
    http: record.httpVersion,
    method: isUnknown ? record.method : undefined,
    target: isUnknown ? clip(record.target) : undefined,
    bodyBytes: record.bodyBytes,
    totalMs: round(record.totalMs ?? 0),
    tlsMs: record.tlsMs === undefined ? undefined : round(record.tlsMs),
    stagesMs: roundAll(record.stages),
    msg: 'request',
  }
}

function clip(value: string): string
function clip(value: string | undefined): string | undefined
function clip(value: string | undefined): string | undefined {
  return value === undefined || value.length <= MAX_TEXT ? value : `${value.slice(0, MAX_TEXT)}...`
}

/** Limits the number and length of fields that KMS may add in the future (Appendix B). */
function clipAll(fields: Readonly<Record<string, unknown>>): Record<string, string> {
  const entries = Object.entries(fields).slice(0, MAX_OTHER_FIELDS)
  return Object.fromEntries(
    entries.map(([name, value]) => [name.slice(0, 64), toText(value).slice(0, 256)]),
  )
}

function toText(value: unknown): string {
  if (typeof value === 'string') return value
  try {
    return JSON.stringify(value)
  } catch {
    // Nesting that the parser accepts can overflow the serializer's stack.
    return '[too deep]'
  }
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000
}

/** The keys are in the order of STAGES, which a test checks. */
function roundAll(stages: StageTimes): Record<Stage, number | undefined> {
  return {
    read: roundReached(stages[0]),
    auth: roundReached(stages[1]),
    decode: roundReached(stages[2]),
    gate: roundReached(stages[3]),
    key: roundReached(stages[4]),
    policy: roundReached(stages[5]),
    backend: roundReached(stages[6]),
    verify: roundReached(stages[7]),
    encode: roundReached(stages[8]),
  }
}

function roundReached(ms: number | undefined): number | undefined {
  return ms === undefined || Number.isNaN(ms) ? undefined : round(ms)
}

export function createLateLog(logger: Logger): (record: RequestRecord) => void {
  return ({ keyStore, operation, keyId, status, metadata }) => {
    const { kmsRequestId, awsPrincipalArn } = metadata ?? {}
    const who = { kmsRequestId, awsPrincipalArn }
    logger.warn(
      'a response may have been sent after the lease expired: this process was suspended while sending it',
      { keyStore, operation, keyId, status, ...who },
    )
  }
}

/** A request that was rejected before it was parsed. */
export interface RejectedRequest {
  readonly remoteAddress: string
  readonly http: string
  readonly method: string
  readonly target: string
}

const EVERY_MS = 1000
/** Maximum number of lines per second; further requests are only counted. */
const MAX_LINES = 10

/**
 * Returns the function to call for each request that admission control rejected. The first
 * MAX_LINES requests in a second are logged individually.
 */
export function createOverloadLog(logger: Logger): (request: RejectedRequest) => void {
  let refused = 0
  const report = () => {
    if (refused > MAX_LINES) {
      logger.warn('overload: further requests refused', {
        refused: refused - MAX_LINES,
      })
    }
    refused = 0
  }
  return ({ remoteAddress, http, method, target }) => {
    refused += 1
    // Unlike a timer of periodic(), this timer runs only while requests are refused.
    if (refused === 1) setTimeout(report, EVERY_MS).unref()
    if (refused > MAX_LINES) return
    const fields = { remoteAddress, http, method, target: clip(target) }
    logger.warn('request refused: too late to respond in time', fields)
  }
}
