/** The log line of a request as text: the same as a general serialiser makes of its fields, at less than half the price. */
// SPDX-License-Identifier: Apache-2.0
import { areCountedTogether } from '../usage/usage-key.ts'
import { STAGES, type RequestMetadata, type RequestRecord } from '../xks/request-record.ts'

/** XKS 1.0.3: ARNs have up to 2,048 characters. Nothing from outside makes a line longer than this. */
const MAX_TEXT = 2048
const MAX_OTHER_FIELDS = 16
/** Anything else may have to be escaped. */
const PLAIN = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/

/**
 * On the way of every request, so it is written out by hand: `LINE_SCHEMA` of request-log.ts has the fields, and a
 * test compares the two. Names, ids and codes have passed their parsers, whose alphabets JSON need not escape; what
 * callers write freely goes through `quote`. All of it is ASCII.
 */
export function renderLine(
  record: RequestRecord,
  level: number,
  worker: number | undefined,
): string {
  let line = `{"level":${String(level)},"time":"${toIsoTime(record.at)}"`
  if (worker !== undefined) line += `,"worker":${String(worker)}`
  const { metadata } = record
  const common = isSimple(record) ? findCommon(record) : toCommon(record)
  line += common.outcome
  if (metadata !== undefined) line += text(',"kmsRequestId":', clip(metadata.kmsRequestId))
  line += common.caller
  // Only where the two say more than key store, operation and key id.
  if (record.operation === undefined) {
    line += `,"method":${quote(record.method)}${text(',"target":', clip(record.target))}`
  }
  line += `,"bodyBytes":${String(record.bodyBytes)},"totalMs":${toMs(record.totalMs ?? 0)}`
  if (record.tlsMs !== undefined) line += `,"tlsMs":${toMs(record.tlsMs)}`
  return `${line},"stagesMs":{${renderStages(record)}},"msg":"request"}\n`
}

/** What a request mostly shares with the one before: comparing that costs a third of writing it. */
interface Common {
  readonly record: RequestRecord
  /** From the key store to the reason. */
  readonly outcome: string
  /** From the operation of KMS to the version of HTTP. */
  readonly caller: string
}

let last: Common | undefined

function findCommon(record: RequestRecord): Common {
  if (last === undefined || !isAlike(record, last.record)) {
    const { outcome, caller } = toCommon(record)
    // A copy: work that its deadline gave up may still write into the record.
    last = { record: { ...record }, outcome: flatten(outcome), caller: flatten(caller) }
  }
  return last
}

/** Of the fields in `Common`, it has only those that `isAlike` compares. */
function isSimple({ metadata, bodySha256, unverifiedKmsRequestId }: RequestRecord): boolean {
  return (
    metadata !== undefined &&
    metadata.other === undefined &&
    bodySha256 === undefined &&
    unverifiedKmsRequestId === undefined
  )
}

function isAlike(a: RequestRecord, b: RequestRecord): boolean {
  return (
    areCountedTogether(a, b) &&
    a.keyVersion === b.keyVersion &&
    a.status === b.status &&
    a.accessKeyId === b.accessKeyId &&
    a.region === b.region &&
    a.remoteAddress === b.remoteAddress &&
    a.httpVersion === b.httpVersion
  )
}

/** One piece of memory instead of V8's tree of what was put together. ASCII only. */
function flatten(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1')
}

function toCommon(record: RequestRecord): Common {
  let outcome =
    token(',"keyStore":"', record.keyStore) +
    token(',"operation":"', record.operation) +
    token(',"keyId":"', record.keyId)
  if (record.keyVersion !== undefined) outcome += `,"keyVersion":${String(record.keyVersion)}`
  if (record.status !== undefined) outcome += `,"status":${String(record.status)}`
  outcome += token(',"errorName":"', record.errorName) + token(',"reason":"', record.reason)
  const caller =
    (record.metadata === undefined ? '' : renderMetadata(record.metadata)) +
    token(',"accessKeyId":"', record.accessKeyId) +
    token(',"region":"', record.region) +
    token(',"bodySha256":"', record.bodySha256) +
    text(',"unverifiedKmsRequestId":', record.unverifiedKmsRequestId) +
    // An address of a link has the name of an interface behind it.
    `,"remoteAddress":${quote(record.remoteAddress)},"http":"${record.httpVersion}"`
  return { record, outcome, caller }
}

function renderMetadata(metadata: Partial<RequestMetadata>): string {
  return (
    text(',"kmsOperation":', clip(metadata.kmsOperation)) +
    text(',"awsPrincipalArn":', clip(metadata.awsPrincipalArn)) +
    text(',"kmsKeyArn":', clip(metadata.kmsKeyArn)) +
    text(',"kmsViaService":', clip(metadata.kmsViaService)) +
    text(',"awsSourceVpc":', clip(metadata.awsSourceVpc)) +
    text(',"awsSourceVpce":', clip(metadata.awsSourceVpce)) +
    (metadata.other === undefined ? '' : `,"otherMetadata":${toAsciiJson(clipAll(metadata.other))}`)
  )
}

const STAGE_STARTS = STAGES.map((stage) => `"${stage}":`)

function renderStages({ stages }: RequestRecord): string {
  let rendered = ''
  for (let i = 0; i < STAGE_STARTS.length; i++) {
    const ms = stages[i] ?? NaN
    if (Number.isNaN(ms)) continue
    if (rendered !== '') rendered += ','
    rendered += STAGE_STARTS[i] ?? ''
    rendered += toMs(ms)
  }
  return rendered
}

/** @param start everything up to the value, as one string: putting it together costs as much as the rest */
function token(start: string, value: string | undefined): string {
  return value === undefined ? '' : `${start}${value}"`
}

function text(start: string, value: string | undefined): string {
  return value === undefined ? '' : start + quote(value)
}

function quote(value: string): string {
  return PLAIN.test(value) ? `"${value}"` : toAsciiJson(value)
}

/** Beyond ASCII, JSON knows two ways to write a character: this one no terminal and no editor interprets. */
export function toAsciiJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
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
