/** One line per request, rendered from its record. */
// SPDX-License-Identifier: Apache-2.0
import fastJson, { type Schema } from 'fast-json-stringify'
import {
  STAGES,
  type RequestMetadata,
  type RequestRecord,
  type Stage,
} from '../xks/request-record.ts'
import type { Log } from './log.ts'

/** XKS 1.0.3: ARNs have up to 2,048 characters. Nothing from outside makes a line longer than this. */
const MAX_TEXT = 2048
const MAX_OTHER_FIELDS = 16

const text = { type: 'string' } as const
const count = { type: 'integer' } as const
const milliseconds = { type: 'number' } as const

/** The fields of a line, in their order; docs/logging.md says what each means. */
export const LINE_SCHEMA = {
  type: 'object',
  properties: {
    level: count,
    time: text,
    keyStore: text,
    operation: text,
    keyId: text,
    keyVersion: count,
    status: count,
    errorName: text,
    reason: text,
    kmsRequestId: text,
    kmsOperation: text,
    awsPrincipalArn: text,
    kmsKeyArn: text,
    kmsViaService: text,
    awsSourceVpc: text,
    awsSourceVpce: text,
    otherMetadata: { type: 'object', additionalProperties: text },
    accessKeyId: text,
    region: text,
    bodySha256: text,
    unverifiedKmsRequestId: text,
    remoteAddress: text,
    http: text,
    method: text,
    target: text,
    bodyBytes: count,
    totalMs: milliseconds,
    stagesMs: {
      type: 'object',
      properties: Object.fromEntries(STAGES.map((stage) => [stage, milliseconds])),
    },
    msg: text,
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
  const level = logger.levels.values['info']
  const logsInfo = logger.isLevelEnabled('info')
  return (record) => {
    if (record.fault !== undefined)
      logger.error({ ...toLine(record), err: record.fault }, 'request')
    else if (logsInfo) {
      const time = new Date(record.at).toISOString()
      log.write(`${serialise({ level, time, ...toLine(record), msg: 'request' })}\n`)
    }
  }
}

function toLine(record: RequestRecord): Record<string, unknown> {
  return {
    keyStore: record.keyStore,
    operation: record.operation,
    keyId: record.keyId,
    keyVersion: record.keyVersion,
    status: record.status,
    errorName: record.errorName,
    reason: record.reason,
    ...(record.metadata === undefined ? {} : toMetadataFields(record.metadata)),
    accessKeyId: record.accessKeyId,
    region: record.region,
    bodySha256: record.bodySha256,
    unverifiedKmsRequestId: record.unverifiedKmsRequestId,
    remoteAddress: record.remoteAddress,
    http: record.httpVersion,
    // Only where the two say more than key store, operation and key id.
    method: record.operation === undefined ? record.method : undefined,
    target: record.operation === undefined ? clip(record.target) : undefined,
    bodyBytes: record.bodyBytes,
    totalMs: round(record.totalMs ?? 0),
    stagesMs: roundAll(record.stages),
  }
}

function toMetadataFields(metadata: RequestMetadata): Record<string, unknown> {
  return {
    kmsRequestId: clip(metadata.kmsRequestId),
    kmsOperation: clip(metadata.kmsOperation),
    awsPrincipalArn: clip(metadata.awsPrincipalArn),
    kmsKeyArn: clip(metadata.kmsKeyArn),
    kmsViaService: clip(metadata.kmsViaService),
    awsSourceVpc: clip(metadata.awsSourceVpc),
    awsSourceVpce: clip(metadata.awsSourceVpce),
    otherMetadata: metadata.other === undefined ? undefined : clipAll(metadata.other),
  }
}

function clip(text: string | undefined): string | undefined {
  return text === undefined || text.length <= MAX_TEXT ? text : `${text.slice(0, MAX_TEXT)}...`
}

/** Fields that KMS may add one day (Appendix B): kept, but not without bounds. */
function clipAll(fields: Readonly<Record<string, unknown>>): Record<string, string | undefined> {
  const entries = Object.entries(fields).slice(0, MAX_OTHER_FIELDS)
  return Object.fromEntries(
    entries.map(([name, value]) => [
      name.slice(0, 64),
      clip(typeof value === 'string' ? value : JSON.stringify(value))?.slice(0, 256),
    ]),
  )
}

function round(ms: number): number {
  return Math.round(ms * 1000) / 1000
}

function roundAll(stages: RequestRecord['stages']): RequestRecord['stages'] {
  const rounded: Partial<Record<Stage, number>> = {}
  for (const stage of STAGES) {
    const ms = stages[stage]
    if (ms !== undefined) rounded[stage] = round(ms)
  }
  return rounded
}
