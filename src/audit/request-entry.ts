/**
 * Encodes requests as audit log entries. docs/audit.md describes each field. Entries are built
 * field by field, and there is no field for plaintext, ciphertext or AAD.
 */
// SPDX-License-Identifier: Apache-2.0
import type { RequestMetadata, RequestRecord } from '../core/request.ts'
import { type Json, toCanonicalJson } from '../core/signature.ts'
import { MAX_ENTRY_BYTES } from './log/tiles.ts'
import type { HashPrincipal } from './principal-hash.ts'
import type { Outcome } from './record.ts'

/** Maximum length of an ARN in characters, from XKS 1.0.3. */
export const MAX_TEXT = 2048
/** If an entry would be too long, every string in its metadata is truncated to this length. */
const SHORT_TEXT = 128
const MAX_OTHER_FIELDS = 16

export interface EntryPlace {
  /** The entry's sequence number, which also counts lost entries. */
  readonly seq: number
  /** Number of entries lost immediately before this one. */
  readonly lost: number
  /** `seq` of the earlier entry about the same request that this entry corrects. */
  readonly corrects?: number | undefined
}

/**
 * Encodes a request entry.
 * @param hashPrincipal replaces the caller's ARN and other values that may name a person; if
 * absent, the entry contains these values in clear
 */
export function encodeRequest(
  given: RequestRecord,
  place: EntryPlace,
  hashPrincipal?: HashPrincipal,
): string {
  const time = new Date(given.at).toISOString()
  const encode = (record: HashedRecord, most: number) =>
    fillFrame(encodeFrame(record, most), record, { ...place, time, most })
  const record = hashPrincipal === undefined ? given : withoutNames(given, hashPrincipal)
  const text = encode(record, MAX_TEXT)
  if (fitsEntry(text)) return text
  return encode({ ...record, metadata: withoutOther(record.metadata) }, SHORT_TEXT)
}

/** Escaping can make a string six times as long. */
function fitsEntry(text: string): boolean {
  return text.length * 3 <= MAX_ENTRY_BYTES || Buffer.byteLength(text) <= MAX_ENTRY_BYTES
}

/** A record in which a hash replaces the caller's ARN. */
export type HashedRecord = RequestRecord & { readonly awsPrincipalHash?: string }

export function withoutNames(record: RequestRecord, hashPrincipal: HashPrincipal): HashedRecord {
  const { metadata } = record
  if (metadata === undefined) return record
  const { awsPrincipalArn, other, ...rest } = metadata
  return {
    ...record,
    ...(awsPrincipalArn === undefined ? {} : { awsPrincipalHash: hashPrincipal(awsPrincipalArn) }),
    metadata: {
      ...rest,
      // Source identities and session tags can also name a person.
      ...(other && {
        other: Object.fromEntries(
          Object.entries(other).map(([name, value]) => [name, hashPrincipal(toText(value))]),
        ),
      }),
    },
  }
}

function withoutOther(metadata: RequestMetadata | undefined): RequestMetadata {
  return { kmsOperation: '', kmsRequestId: '', ...metadata, other: { cut: true } }
}

/**
 * The text of an entry, without the members that differ from request to request. Each part ends
 * where one or more of these members belong.
 */
export interface EntryFrame {
  readonly beforeDuration: string
  readonly beforeRequestId: string
  readonly beforeLost: string
  readonly beforeSealed: string
  readonly beforeTime: string
}

/**
 * Encodes a frame with its members in RFC 8785 order. Joining strings takes two thirds of the time
 * of JSON.stringify, and sorting the members would take even longer.
 * @param most maximum length of a string in the metadata
 */
export function encodeFrame(record: HashedRecord, most = MAX_TEXT): EntryFrame {
  const metadata: Partial<RequestMetadata> = record.metadata ?? {}
  const { other } = metadata
  const clip = (text: string | undefined) => text?.slice(0, most)
  return {
    beforeDuration:
      ofText('{"accessClass":', record.accessClass, '{') +
      ofText('"accessKeyId":', record.accessKeyId) +
      ofText('"awsPrincipalArn":', clip(metadata.awsPrincipalArn)) +
      ofText('"awsPrincipalHash":', record.awsPrincipalHash) +
      ofText('"awsSourceVpc":', clip(metadata.awsSourceVpc)) +
      ofText('"awsSourceVpce":', clip(metadata.awsSourceVpce)) +
      ofText('"bodySha256":', record.bodySha256),
    beforeRequestId:
      ofText('"errorName":', record.errorName) +
      ofNumber('"gateEpoch":', record.gateEpoch) +
      (record.isProbe === true ? '"isProbe":true,' : '') +
      ofText('"keyId":', record.keyId) +
      ofText('"keyStore":', record.keyStore) +
      ofNumber('"keyVersion":', record.keyVersion) +
      ofText('"kind":"request","kmsKeyArn":', clip(metadata.kmsKeyArn), '"kind":"request",') +
      ofText('"kmsOperation":', clip(metadata.kmsOperation)),
    beforeLost: ofText('"kmsViaService":', clip(metadata.kmsViaService)),
    beforeSealed:
      ofText('"operation":', record.operation) +
      // KMS chooses the names of the members in otherMetadata, so they must be sorted here.
      (other === undefined ? '' : `"otherMetadata":${toCanonicalJson(clipAll(other))},`) +
      `"outcome":"${outcomeOf(record)}",` +
      (record.policies === undefined ? '' : `"policies":${JSON.stringify(record.policies)},`) +
      ofNumber('"policyRevision":', record.policyRevision) +
      ofText('"reason":', record.reason) +
      ofText('"region":', record.region) +
      ofText('"remoteAddress":', record.remoteAddress),
    beforeTime: `${ofNumber('"status":', record.status)}"time":"`,
  }
}

function outcomeOf({ status = 500 }: RequestRecord): Outcome {
  if (status === 200) return 'allowed'
  return status >= 500 ? 'failed' : 'refused'
}

export interface EntryDetails extends EntryPlace {
  /** ISO 8601, UTC. */
  readonly time: string
  /** Maximum length of a string in the metadata. */
  readonly most?: number
}

/** Completes a frame by inserting the members that it lacks. */
export function fillFrame(
  frame: EntryFrame,
  record: RequestRecord,
  { seq, lost, corrects, time, most = MAX_TEXT }: EntryDetails,
): string {
  const unverified = record.unverifiedKmsRequestId?.slice(0, most)
  return (
    frame.beforeDuration +
    ofNumber('"corrects":', corrects) +
    ofNumber('"durationUs":', Math.round(1000 * (record.totalMs ?? sum(record.stages)))) +
    frame.beforeRequestId +
    ofText('"kmsRequestId":', record.metadata?.kmsRequestId.slice(0, most)) +
    frame.beforeLost +
    ofNumber('"lost":', lost === 0 ? undefined : lost) +
    frame.beforeSealed +
    ofText('"sealedSha256":', record.sealedSha256) +
    ofNumber('"seq":', seq) +
    frame.beforeTime +
    time +
    (unverified === undefined ? '"}' : `","unverifiedKmsRequestId":${quote(unverified)}}`)
  )
}

/** @param name the member's name, with quotes and colon, because joining fewer strings is faster */
function ofText(name: string, value: string | undefined, ifAbsent = ''): string {
  if (value === undefined) return ifAbsent
  return isPlain(value) ? `${name}"${value}",` : `${name}${quote(value)},`
}

function ofNumber(name: string, value: number | undefined): string {
  if (value === undefined) return ''
  return `${name}${Number.isFinite(value) ? String(value) : 'null'},`
}

/** Reports whether a text is the same in JSON, apart from the quotes around it. */
export function isPlain(text: string): boolean {
  return !SPECIAL.test(text)
}

/** Characters that JSON escapes, and surrogates, which must come in pairs. */
const SPECIAL = /["\\\u0000-\u001f\ud800-\udfff]/

/** Returns a string as JSON. A lone surrogate has no canonical form in RFC 8785, so it is replaced. */
function quote(text: string): string {
  return JSON.stringify(toWellFormed(text))
}

function toWellFormed(text: string): string {
  return text.replace(/[\ud800-\udfff]/gu, '\ufffd')
}

function sum(stages: readonly number[]): number {
  return stages.reduce((total, one) => total + (Number.isNaN(one) ? 0 : one), 0)
}

function clipAll(fields: Readonly<Record<string, unknown>>): Json {
  return Object.fromEntries(
    Object.entries(fields)
      .slice(0, MAX_OTHER_FIELDS)
      .map(([name, value]) => [toWellFormed(name.slice(0, 64)), toText(value)]),
  )
}

function toText(value: unknown): string {
  try {
    const text = typeof value === 'string' ? value : JSON.stringify(value)
    return toWellFormed(text.slice(0, 256))
  } catch {
    // The serializer can overflow the stack at nesting depths that the parser accepts.
    return '[too deep]'
  }
}
