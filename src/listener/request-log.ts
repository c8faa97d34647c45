/** One line per request, rendered from its record. */
// SPDX-License-Identifier: Apache-2.0
import type { Logger } from 'pino'
import type { RequestMetadata, RequestRecord } from '../xks/request-record.ts'

/** XKS 1.0.3: ARNs have up to 2,048 characters. Nothing from outside makes a line longer than this. */
const MAX_TEXT = 2048
const MAX_OTHER_FIELDS = 16

/**
 * Second net behind the allow-list below: were such a field ever logged, it would be struck out.
 */
export const REDACTED_PATHS = [
  'plaintext',
  'ciphertext',
  'secretAccessKey',
  'authorization',
  'passphrase',
]

/**
 * `info` for what was answered, refusals included; `error` for a fault of ours. Names of the fields
 * are documented in docs/logging.md.
 */
export function createRequestLog(logger: Logger): (record: RequestRecord) => void {
  return (record) => {
    const line = toLine(record)
    if (record.fault === undefined) logger.info(line, 'request')
    else logger.error({ ...line, err: record.fault }, 'request failed')
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

function roundAll(stages: Readonly<Record<string, number>>): Record<string, number> {
  const rounded: Record<string, number> = {}
  for (const stage in stages) rounded[stage] = round(stages[stage] ?? 0)
  return rounded
}
