/**
 * Encodes a server's requests as audit log entries, and remembers the parts that requests of one
 * caller have in common. As a result, encoding and copying an entry takes a sixth of the time,
 * which saves 4 % of the processor time of an Encrypt request.
 */
// SPDX-License-Identifier: Apache-2.0
import type { RequestMetadata, RequestRecord } from '../core/request.ts'
import { MAX_ENTRY_BYTES } from './log/tiles.ts'
import type { HashPrincipal } from './principal-hash.ts'
import {
  encodeFrame,
  encodeRequest,
  type EntryDetails,
  type EntryFrame,
  type EntryPlace,
  fillFrame,
  isPlain,
  MAX_TEXT,
  withoutNames,
} from './request-entry.ts'

/** Encodes an entry exactly as `encodeRequest` does. */
export type RequestEncoder = (record: RequestRecord, place: EntryPlace) => string

/** Maximum number of callers to remember. When it is exceeded, all callers are forgotten. */
const MAX_CALLERS = 1000
/**
 * Maximum number of frames for each caller. A caller may use several keys over several connections.
 */
const MAX_FRAMES = 8
/**
 * Longer texts might exceed the maximum entry size and have to be truncated. UTF-8 needs at most
 * three bytes for a UTF-16 code unit.
 */
const MAX_UNITS = Math.floor(MAX_ENTRY_BYTES / 3)

/** The parts of a typical request's entry around the members that vary from request to request. */
interface UsualFrame {
  readonly beforeDuration: string
  readonly beforeRequestId: string
  readonly beforeSealed: string
  readonly beforeTime: string
}

/** A frame, and the values that it was made from. They are copied, because a record can change. */
interface KnownFrame extends EntryFrame {
  readonly usual: UsualFrame
  readonly record: Readonly<SharedFields>
  readonly metadata: RequestMetadata
}

/** The fields of a record that, together with its metadata, determine its frame. */
type SharedFields = Pick<
  RequestRecord,
  | 'accessClass'
  | 'accessKeyId'
  | 'bodySha256'
  | 'errorName'
  | 'gateEpoch'
  | 'isProbe'
  | 'keyId'
  | 'keyStore'
  | 'keyVersion'
  | 'operation'
  | 'policies'
  | 'policyRevision'
  | 'reason'
  | 'region'
  | 'remoteAddress'
  | 'status'
>

/** @param hashPrincipal set if entries must not name callers */
export function createRequestEncoder(hashPrincipal?: HashPrincipal): RequestEncoder {
  const callers = new Map<string, KnownFrame[]>()
  const toTime = createTimeFormat()

  function findFrame(record: RequestRecord, metadata: RequestMetadata, caller: string): KnownFrame {
    let frames = callers.get(caller)
    if (frames === undefined) {
      if (callers.size >= MAX_CALLERS) callers.clear()
      callers.set(caller, (frames = []))
    }
    for (const known of frames) {
      if (isSame(known.record, record) && isSameMetadata(known.metadata, metadata)) return known
    }
    const hashed = hashPrincipal === undefined ? record : withoutNames(record, hashPrincipal)
    const frame = flatten(encodeFrame(hashed))
    const made = { ...frame, usual: toUsual(frame), record: toShared(record), metadata }
    if (frames.length >= MAX_FRAMES) frames.shift()
    frames.push(made)
    return made
  }

  return (record, place) => {
    const { metadata } = record
    const caller = metadata?.awsPrincipalArn
    // Only KMS can influence what is cached, because metadata is known only after the signature has
    // been verified.
    if (metadata === undefined || caller === undefined || metadata.other !== undefined) {
      return encodeRequest(record, place, hashPrincipal)
    }
    const { seq, lost, corrects } = place
    const details = { seq, lost, corrects, time: toTime(record.at) }
    const frame = findFrame(record, metadata, caller)
    const text = fillUsual(frame.usual, record, details) ?? fillFrame(frame, record, details)
    return text.length <= MAX_UNITS ? text : encodeRequest(record, place, hashPrincipal)
  }
}

function toShared(record: RequestRecord): SharedFields {
  const { accessClass, accessKeyId, bodySha256, errorName, gateEpoch, isProbe, keyId } = record
  const { keyStore, keyVersion, operation, policies, policyRevision, reason, region } = record
  const { remoteAddress, status } = record
  return {
    ...{ accessClass, accessKeyId, bodySha256, errorName, gateEpoch, isProbe, keyId, keyStore },
    ...{ keyVersion, operation, policies, policyRevision, reason, region, remoteAddress, status },
  }
}

/** Compares the fields that differ most often first. */
function isSame(a: SharedFields, b: SharedFields): boolean {
  return (
    a.operation === b.operation &&
    a.status === b.status &&
    a.keyId === b.keyId &&
    a.remoteAddress === b.remoteAddress &&
    a.keyVersion === b.keyVersion &&
    a.gateEpoch === b.gateEpoch &&
    a.accessKeyId === b.accessKeyId &&
    a.accessClass === b.accessClass &&
    a.keyStore === b.keyStore &&
    a.region === b.region &&
    a.policyRevision === b.policyRevision &&
    a.isProbe === b.isProbe &&
    a.errorName === b.errorName &&
    a.reason === b.reason &&
    a.bodySha256 === b.bodySha256 &&
    isSameList(a.policies, b.policies)
  )
}

function isSameMetadata(a: RequestMetadata, b: RequestMetadata): boolean {
  return (
    a.kmsOperation === b.kmsOperation &&
    a.kmsKeyArn === b.kmsKeyArn &&
    a.kmsViaService === b.kmsViaService &&
    a.awsSourceVpc === b.awsSourceVpc &&
    a.awsSourceVpce === b.awsSourceVpce
  )
}

function isSameList(a: readonly string[] | undefined, b: readonly string[] | undefined): boolean {
  if (a === b) return true
  if (a?.length !== b?.length) return false
  return a?.every((one, i) => one === b?.[i]) ?? false
}

function toUsual(frame: EntryFrame): UsualFrame {
  return {
    beforeDuration: copy(`${frame.beforeDuration}"durationUs":`),
    beforeRequestId: copy(`,${frame.beforeRequestId}"kmsRequestId":"`),
    beforeSealed: copy(`",${frame.beforeLost}${frame.beforeSealed}"sealedSha256":"`),
    beforeTime: copy(`,${frame.beforeTime}`),
  }
}

/**
 * Completes an entry in two thirds of the time that `fillFrame` takes, because it joins fewer
 * strings. Returns undefined for a request with unusual members, or with an id that needs escaping.
 */
function fillUsual(
  frame: UsualFrame,
  { metadata, sealedSha256, totalMs = NaN, unverifiedKmsRequestId }: RequestRecord,
  { seq, lost, corrects, time }: EntryDetails,
): string | undefined {
  if (lost !== 0 || corrects !== undefined || unverifiedKmsRequestId !== undefined) return undefined
  const id = metadata?.kmsRequestId
  if (id === undefined || id.length > MAX_TEXT || !isPlain(id)) return undefined
  const durationUs = Math.round(1000 * totalMs)
  if (sealedSha256 === undefined || !Number.isFinite(durationUs)) return undefined
  return `${frame.beforeDuration}${String(durationUs)}${frame.beforeRequestId}${id}${frame.beforeSealed}${sealedSha256}","seq":${String(seq)}${frame.beforeTime}${time}"}`
}

/** Copies each part into one piece of memory. V8 would otherwise join its pieces for each entry. */
function flatten(frame: EntryFrame): EntryFrame {
  return {
    beforeDuration: copy(frame.beforeDuration),
    beforeRequestId: copy(frame.beforeRequestId),
    beforeLost: copy(frame.beforeLost),
    beforeSealed: copy(frame.beforeSealed),
    beforeTime: copy(frame.beforeTime),
  }
}

function copy(text: string): string {
  return Buffer.from(text).toString()
}

/** Formats times like `Date.toISOString`, and remembers the last second. */
function createTimeFormat(): (at: number) => string {
  let second: number | undefined
  let text = ''
  return (at) => {
    const atMs = Math.trunc(at)
    const ms = atMs % 1000
    if (ms < 0) return new Date(at).toISOString()
    if (second !== atMs - ms) {
      text = new Date(at).toISOString().slice(0, -'000Z'.length)
      second = atMs - ms
    }
    return `${text}${ms < 10 ? '00' : ms < 100 ? '0' : ''}${String(ms)}Z`
  }
}
