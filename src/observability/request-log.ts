/** One line per request, rendered from its record. */
// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '../core/logger.ts'
import {
  type RequestMetadata,
  type RequestRecord,
  STAGES,
  type Stage,
  type StageTimes,
} from '../xks/request-record.ts'
import type { Log } from './log.ts'
import { clip, clipAll, renderLine, toIsoTime } from './request-line.ts'

/** The number that a line of the level `info` carries. */
const INFO_LEVEL = 30

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
 * `info` for what was answered, refusals included; `error` for a fault of ours, with the stack. What has no place
 * among the fields above cannot be logged.
 */
export function createRequestLog(log: Log): (record: RequestRecord) => void {
  const { logger } = log
  return (record) => {
    if (record.fault !== undefined) {
      // The logger has its own level, time and worker.
      const line = toLine(record, INFO_LEVEL, log.worker)
      const fields = {
        ...line,
        level: undefined,
        time: undefined,
        worker: undefined,
        msg: undefined,
      }
      logger.error('request', { ...fields, err: record.fault })
    } else if (log.logsInfo) log.writeAscii(renderLine(record, INFO_LEVEL, log.worker))
  }
}

/** The fields of a line with their values, as `renderLine` writes them. */
export function toLine(record: RequestRecord, level: number, worker: number | undefined) {
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

export function createLateLog(logger: Logger): (record: RequestRecord) => void {
  return ({ keyStore, operation, keyId, status, metadata }) => {
    const { kmsRequestId, awsPrincipalArn } = metadata ?? {}
    const who = { kmsRequestId, awsPrincipalArn }
    logger.warn(
      'an answer may have left after the lease: this process was stopped in the middle of it',
      { keyStore, operation, keyId, status, ...who },
    )
  }
}

const EVERY_MS = 1000

/** What is returned is called once for each refused request. */
export function createOverloadLog(logger: Logger): () => void {
  let refused = 0
  const report = () => {
    logger.warn('requests were refused: more came than could be answered in time', { refused })
    refused = 0
  }
  return () => {
    refused += 1
    // A timer only while requests are refused, unlike periodic().
    if (refused === 1) setTimeout(report, EVERY_MS).unref()
  }
}
