/** The log line of a request as text: the same, to the byte, as a general serialiser makes of its fields, at half the price. */
// SPDX-License-Identifier: Apache-2.0
import { STAGES, type RequestMetadata, type RequestRecord } from '../xks/request-record.ts'

/** XKS 1.0.3: ARNs have up to 2,048 characters. Nothing from outside makes a line longer than this. */
const MAX_TEXT = 2048
const MAX_OTHER_FIELDS = 16
/** Anything else may have to be escaped. */
const PLAIN = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/

/**
 * On the way of every request, so it is written out by hand: `LINE_SCHEMA` of request-log.ts has the fields, and a
 * test compares the two. Names, ids and codes have passed their parsers, whose alphabets JSON need not escape; what
 * callers write freely goes through `quote`.
 */
export function renderLine(
  record: RequestRecord,
  level: number,
  worker: number | undefined,
): string {
  let line = `{"level":${String(level)},"time":"${toIsoTime(record.at)}"`
  if (worker !== undefined) line += `,"worker":${String(worker)}`
  line +=
    token('keyStore', record.keyStore) +
    token('operation', record.operation) +
    token('keyId', record.keyId)
  if (record.keyVersion !== undefined) line += `,"keyVersion":${String(record.keyVersion)}`
  if (record.status !== undefined) line += `,"status":${String(record.status)}`
  line += token('errorName', record.errorName) + token('reason', record.reason)
  if (record.metadata !== undefined) line += renderMetadata(record.metadata)
  line +=
    token('accessKeyId', record.accessKeyId) +
    token('region', record.region) +
    token('bodySha256', record.bodySha256) +
    text('unverifiedKmsRequestId', record.unverifiedKmsRequestId) +
    `,"remoteAddress":"${record.remoteAddress}","http":"${record.httpVersion}"`
  // Only where the two say more than key store, operation and key id.
  if (record.operation === undefined) {
    line += `,"method":${quote(record.method)}${text('target', clip(record.target))}`
  }
  line += `,"bodyBytes":${String(record.bodyBytes)},"totalMs":${toMs(record.totalMs ?? 0)}`
  if (record.tlsMs !== undefined) line += `,"tlsMs":${toMs(record.tlsMs)}`
  return `${line},"stagesMs":{${renderStages(record)}},"msg":"request"}\n`
}

function renderMetadata(metadata: Partial<RequestMetadata>): string {
  return (
    text('kmsRequestId', clip(metadata.kmsRequestId)) +
    text('kmsOperation', clip(metadata.kmsOperation)) +
    text('awsPrincipalArn', clip(metadata.awsPrincipalArn)) +
    text('kmsKeyArn', clip(metadata.kmsKeyArn)) +
    text('kmsViaService', clip(metadata.kmsViaService)) +
    text('awsSourceVpc', clip(metadata.awsSourceVpc)) +
    text('awsSourceVpce', clip(metadata.awsSourceVpce)) +
    (metadata.other === undefined
      ? ''
      : `,"otherMetadata":${JSON.stringify(clipAll(metadata.other))}`)
  )
}

function renderStages({ stages }: RequestRecord): string {
  let rendered = ''
  for (let i = 0; i < STAGES.length; i++) {
    const ms = stages[i] ?? NaN
    if (Number.isNaN(ms)) continue
    rendered += `${rendered === '' ? '' : ','}"${STAGES[i] ?? ''}":${toMs(ms)}`
  }
  return rendered
}

function token(name: string, value: string | undefined): string {
  return value === undefined ? '' : `,"${name}":"${value}"`
}

function text(name: string, value: string | undefined): string {
  return value === undefined ? '' : `,"${name}":${quote(value)}`
}

function quote(value: string): string {
  return PLAIN.test(value) ? `"${value}"` : JSON.stringify(value)
}

/** Times of stages are of few microseconds: their decimals are made once. */
const SHORT_TIMES = Array.from({ length: 2000 }, (_, us) => String(us / 1000))

/** To the microsecond. */
function toMs(ms: number): string {
  const us = Math.round(ms * 1000)
  return SHORT_TIMES[us] ?? String(us / 1000)
}

let isoSecond = -1
let isoPrefix = ''

/** `toISOString`, with everything down to the second kept for as long as it is the same. */
export function toIsoTime(at: number): string {
  const ms = Math.floor(at)
  const second = Math.floor(ms / 1000)
  if (second !== isoSecond) {
    isoPrefix = new Date(second * 1000).toISOString().slice(0, -'000Z'.length)
    isoSecond = second
  }
  return `${isoPrefix}${String(ms - second * 1000).padStart(3, '0')}Z`
}

export function clip(value: string): string
export function clip(value: string | undefined): string | undefined
export function clip(value: string | undefined): string | undefined {
  return value === undefined || value.length <= MAX_TEXT ? value : `${value.slice(0, MAX_TEXT)}...`
}

/** Fields that KMS may add one day (Appendix B): kept, but not without bounds. */
export function clipAll(fields: Readonly<Record<string, unknown>>): Record<string, string> {
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
