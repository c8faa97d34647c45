/** One line per request, rendered from its record. */
// SPDX-License-Identifier: Apache-2.0
import fastJson, { type Schema } from 'fast-json-stringify'
import {
  STAGES,
  type RequestMetadata,
  type RequestRecord,
  type Stage,
  type StageTimes,
} from '../xks/request-record.ts'
import type { Log } from './log.ts'

/** XKS 1.0.3: ARNs have up to 2,048 characters. Nothing from outside makes a line longer than this. */
const MAX_TEXT = 2048
const MAX_OTHER_FIELDS = 16
const NO_METADATA: Partial<RequestMetadata> = {}

const text = { type: 'string' } as const
/** From a closed alphabet that JSON need not escape: names, ids and codes that have passed their parser. */
const token = { type: 'string', format: 'unsafe' } as const
const count = { type: 'integer' } as const
const milliseconds = { type: 'number' } as const

/** The fields of a line, in their order; docs/logging.md says what each means. */
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

/**
 * `info` for what was answered, refusals included; `error` for a fault of ours, with the stack.
 * The first, on the way of every request, is written by a serialiser that is compiled from the
 * fields above: a third of the cost of a general one, and what has no place there cannot be logged.
 */
export function createRequestLog(log: Log): (record: RequestRecord) => void {
  const { logger } = log
  const serialise = fastJson(LINE_SCHEMA as unknown as Schema)
  const level = logger.levels.values['info'] ?? 0
  const logsInfo = logger.isLevelEnabled('info')
  return (record) => {
    if (record.fault !== undefined) {
      // The logger has its own level, time and worker.
      const line = toLine(record, level, log.worker)
      const fields = {
        ...line,
        level: undefined,
        time: undefined,
        worker: undefined,
        msg: undefined,
      }
      logger.error({ ...fields, err: record.fault }, 'request')
    } else if (logsInfo) log.write(`${serialise(toLine(record, level, log.worker))}\n`)
  }
}

/** One literal: an object that always has the same shape is cheap to make and to serialise. */
function toLine(record: RequestRecord, level: number, worker: number | undefined) {
  const metadata: Partial<RequestMetadata> = record.metadata ?? NO_METADATA
  // Only where the two say more than key store, operation and key id.
  const isUnknown = record.operation === undefined
  return {
    level,
    time: toIsoTime(record.at),
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

let isoSecond = -1
let isoPrefix = ''

/** `toISOString`, with everything down to the second kept for as long as it is the same. */
function toIsoTime(at: number): string {
  const ms = Math.floor(at)
  const second = Math.floor(ms / 1000)
  if (second !== isoSecond) {
    isoPrefix = new Date(second * 1000).toISOString().slice(0, -'000Z'.length)
    isoSecond = second
  }
  return `${isoPrefix}${String(ms - second * 1000).padStart(3, '0')}Z`
}

function clip(text: string | undefined): string | undefined {
  return text === undefined || text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}...`
}

/** Fields that KMS may add one day (Appendix B): kept, but not without bounds. */
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
    // What the parser can nest, the serialiser may not have the stack for.
    return '[too deep]'
  }
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000
}

/** The order of STAGES, which a test compares. */
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
