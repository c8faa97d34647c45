/**
 * The entries of an audit log: canonical JSON (RFC 8785), so that an auditor can rebuild each byte.
 * They are built field by field, and there is no field for plaintext, ciphertext or AAD.
 */
// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto'
import type { RequestMetadata, RequestRecord } from '../core/request.ts'
import { type Json, toCanonicalJson } from '../core/signature.ts'
import { MAX_ENTRY_BYTES } from './log/tiles.ts'
import type { HashPrincipal } from './principal-hash.ts'

/** XKS 1.0.3: ARNs have up to 2,048 characters. */
const MAX_TEXT = 2048
/** If an entry would be too long, each string of the metadata is cut to this length. */
const SHORT_TEXT = 128
const MAX_OTHER_FIELDS = 16

export type Outcome = 'allowed' | 'refused' | 'failed'

/** An entry as read from a log. Its `kind` determines which fields it has. */
export interface AuditEntry {
  readonly kind: 'start' | 'request' | 'recovered' | 'stop' | 'event'
  readonly seq?: number
  /** ISO 8601, UTC. */
  readonly time?: string
  readonly outcome?: Outcome
  readonly [field: string]: Json | undefined
}

export interface EntryPlace {
  /**
   * Number of the entry, counting every entry that the process wanted to write, including lost
   * ones.
   */
  readonly seq: number
  /** Number of entries lost immediately before this one. */
  readonly lost: number
  /** `seq` of an earlier entry about the same request that this one corrects. */
  readonly corrects?: number | undefined
}

function outcomeOf({ status = 500 }: RequestRecord): Outcome {
  if (status === 200) return 'allowed'
  return status >= 500 ? 'failed' : 'refused'
}

/**
 * Encodes the entry of a request. docs/audit.md describes each field.
 * @param hashPrincipal replaces the ARN of the caller, and values that may name one; absent: they stay
 */
export function encodeRequest(
  given: RequestRecord,
  place: EntryPlace,
  hashPrincipal?: HashPrincipal,
): string {
  const record = hashPrincipal === undefined ? given : withoutNames(given, hashPrincipal)
  const text = encode(record, place, MAX_TEXT)
  // Escapes can make a string six times as long.
  if (text.length * 3 <= MAX_ENTRY_BYTES || Buffer.byteLength(text) <= MAX_ENTRY_BYTES) return text
  return encode({ ...record, metadata: withoutOther(record.metadata) }, place, SHORT_TEXT)
}

/** A record with a hash in place of the caller's ARN. */
type HashedRecord = RequestRecord & { readonly awsPrincipalHash?: string }

function withoutNames(record: RequestRecord, hashPrincipal: HashPrincipal): HashedRecord {
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

function encode(record: HashedRecord, place: EntryPlace, most: number): string {
  const metadata: Partial<RequestMetadata> = record.metadata ?? {}
  const clip = (text: string | undefined) => text && toWellFormed(text.slice(0, most))
  // The members are in the order of RFC 8785, so that JSON.stringify writes the canonical form:
  // sorting them for each entry would take four times as long.
  const fields = {
    accessClass: record.accessClass,
    accessKeyId: record.accessKeyId,
    awsPrincipalArn: clip(metadata.awsPrincipalArn),
    awsPrincipalHash: record.awsPrincipalHash,
    awsSourceVpc: clip(metadata.awsSourceVpc),
    awsSourceVpce: clip(metadata.awsSourceVpce),
    bodySha256: record.bodySha256,
    corrects: place.corrects,
    durationUs: Math.round(1000 * (record.totalMs ?? sum(record.stages))),
    errorName: record.errorName,
    gateEpoch: record.gateEpoch,
    isProbe: record.isProbe,
    keyId: record.keyId,
    keyStore: record.keyStore,
    keyVersion: record.keyVersion,
    kind: 'request',
    kmsKeyArn: clip(metadata.kmsKeyArn),
    kmsOperation: clip(metadata.kmsOperation),
    kmsRequestId: clip(metadata.kmsRequestId),
    kmsViaService: clip(metadata.kmsViaService),
    lost: place.lost === 0 ? undefined : place.lost,
    operation: record.operation,
    otherMetadata: metadata.other && clipAll(metadata.other),
    outcome: outcomeOf(record),
    policies: record.policies,
    policyRevision: record.policyRevision,
    reason: record.reason,
    region: record.region,
    remoteAddress: record.remoteAddress,
    sealedSha256: record.sealedSha256,
    seq: place.seq,
    status: record.status,
    time: toTime(record.at),
    unverifiedKmsRequestId: clip(record.unverifiedKmsRequestId),
  }
  // KMS chooses the names of other members, and JavaScript puts numeric names first.
  return fields.otherMetadata === undefined ? JSON.stringify(fields) : toCanonicalJson(fields)
}

/** A lone surrogate has no canonical form in RFC 8785. */
function toWellFormed(text: string): string {
  return text.replace(/[\ud800-\udfff]/gu, '\ufffd')
}

function toTime(at: number): string {
  return new Date(at).toISOString()
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
    // The serializer can run out of stack on nesting that the parser accepts.
    return '[too deep]'
  }
}

/** Encodes an entry about the log itself. */
export function encodeMark(
  kind: 'start' | 'stop' | 'recovered',
  fields: Readonly<Record<string, Json>>,
): string {
  return toCanonicalJson({ ...fields, kind })
}

/** Returns the entry encoded in these bytes; undefined if they are not in canonical form. */
export function decodeEntry(bytes: Buffer): AuditEntry | undefined {
  const text = bytes.toString('utf8')
  try {
    const value = JSON.parse(text) as AuditEntry | null
    const isEntry = typeof value === 'object' && typeof value?.kind === 'string'
    return isEntry && toCanonicalJson(value) === text ? value : undefined
  } catch {
    return undefined
  }
}

/** Returns a field as text; empty if it is absent. */
export function fieldOf(entry: AuditEntry, name: string): string {
  const value = entry[name]
  if (value === undefined) return ''
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** Ciphertext: the output of an Encrypt or the input of a Decrypt. */
export interface SealedParts {
  readonly iv: Buffer
  readonly ciphertext: Buffer
  readonly tag: Buffer
}

/**
 * Links an Encrypt to its Decrypts. The hash also covers initialization vector and tag, because the
 * ciphertext of a short plaintext could be guessed on its own.
 */
export function hashSealed({ iv, ciphertext, tag }: SealedParts): string {
  return hash('sha256', Buffer.concat([iv, ciphertext, tag]), 'hex')
}
