/**
 * Reads CloudTrail's KMS events one at a time, from files that CloudTrail delivered to S3, from
 * JSON lines, and from LookupEvents responses. Files may be gzipped.
 */
// SPDX-License-Identifier: Apache-2.0
import { createReadStream } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createGunzip } from 'node:zlib'
import { AuditError } from '../errors.ts'

/** The event fields that the comparison needs. */
export interface KmsEvent {
  readonly kmsRequestId: string
  /** Wall time, in milliseconds since the Unix epoch. */
  readonly at: number
  /** KMS operation, such as `Decrypt`. */
  readonly operation: string
  readonly principal: string | undefined
  readonly keyArns: readonly string[]
  /** Set if KMS denied the call or the call failed, possibly before KMS called the proxy. */
  readonly errorCode: string | undefined
}

/** Returns the files below a path, sorted by name, which also sorts them by date. */
export async function findCloudTrailFiles(path: string): Promise<readonly string[]> {
  if (!(await stat(path)).isDirectory()) return [path]
  const names = await readdir(path, { recursive: true })
  const files = names.filter((name) => /\.jsonl?(?:\.gz)?$/.test(name)).sort()
  if (files.length > 0) return files.map((name) => join(path, name))
  throw new AuditError('AUDIT_NOT_FOUND', `${path} contains no .json or .json.gz files`)
}

/** @throws AuditError AUDIT_INVALID if a file was not written by CloudTrail */
export async function* readKmsEvents(file: string): AsyncGenerator<KmsEvent, void, undefined> {
  const splitter = new RecordSplitter()
  const stream = createReadStream(file)
  const bytes = file.endsWith('.gz') ? stream.pipe(createGunzip()) : stream
  // `pipe` passes on data, but not errors.
  stream.once('error', (error) => bytes.destroy(error))
  try {
    for await (const chunk of bytes) {
      for (const text of splitter.take(chunk as Buffer)) {
        const event = toKmsEvent(JSON.parse(text))
        if (event !== undefined) yield event
      }
    }
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new AuditError('AUDIT_INVALID', `cannot read CloudTrail events from ${file}: ${why}`, {
      cause,
    })
  } finally {
    stream.destroy()
  }
  if (!splitter.isAtEnd) {
    throw new AuditError('AUDIT_INVALID', `${file} ends in the middle of an event`)
  }
}

/** CloudTrail events are at most 256 KB, so anything longer is not an event. */
const MAX_RECORD_BYTES = 4 * 1024 * 1024
const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN = new Set([0x7b, 0x5b])
const CLOSE = new Set([0x7d, 0x5d])
const OPEN_BRACKET = 0x5b
const OPEN_BRACE = 0x7b

/**
 * Splits a JSON stream into its records: the elements of `{"Records": […]}`, `{"Events": […]}` or
 * `[…]`, or otherwise the values in a stream of objects, such as JSON lines.
 */
export class RecordSplitter {
  /** Nesting depth at which records begin; undefined until the first bytes determine it. */
  #recordDepth: number | undefined
  #head = ''
  #depth = 0
  #isInString = false
  #isEscaped = false
  /** Pieces of the record that is being read. */
  #pieces: Buffer[] = []
  #length = 0
  #isInRecord = false

  get isAtEnd(): boolean {
    return this.#depth === 0 && !this.#isInString
  }

  /**
   * Returns the records that end in this chunk.
   * @throws RangeError if a record is too long
   */
  take(chunk: Buffer): readonly string[] {
    const bytes = this.#recordDepth === undefined ? this.#findDepth(chunk) : chunk
    const records: string[] = []
    let start = this.#isInRecord ? 0 : -1
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i] ?? 0
      if (this.#isInString) {
        if (this.#isEscaped) this.#isEscaped = false
        else if (byte === BACKSLASH) this.#isEscaped = true
        else if (byte === QUOTE) this.#isInString = false
      } else if (byte === QUOTE) this.#isInString = true
      else if (OPEN.has(byte)) {
        if (this.#depth === this.#recordDepth && byte === OPEN_BRACE) {
          this.#isInRecord = true
          start = i
        }
        this.#depth += 1
      } else if (CLOSE.has(byte)) {
        this.#depth -= 1
        if (this.#isInRecord && this.#depth === this.#recordDepth) {
          this.#keep(bytes.subarray(start, i + 1))
          records.push(Buffer.concat(this.#pieces).toString('utf8'))
          this.#pieces = []
          this.#length = 0
          this.#isInRecord = false
          start = -1
        }
      }
    }
    if (this.#isInRecord) this.#keep(bytes.subarray(start))
    return records
  }

  #keep(bytes: Buffer): void {
    this.#length += bytes.length
    if (this.#length > MAX_RECORD_BYTES) throw new RangeError('a record is too long')
    this.#pieces.push(bytes)
  }

  /**
   * Determines the file format. Returns all input read so far once the format is known, and an
   * empty buffer before then.
   */
  #findDepth(chunk: Buffer): Buffer {
    this.#head += chunk.toString('latin1')
    const text = this.#head.replace(/^\xef\xbb\xbf/, '').trimStart()
    if (text.charCodeAt(0) === OPEN_BRACKET) this.#recordDepth = 1
    else if (/^\{\s*"(?:Records|Events)"\s*:/.test(text)) this.#recordDepth = 2
    else if (text.length >= 64 || text.includes('}')) this.#recordDepth = 0
    else return Buffer.alloc(0)
    const bytes = Buffer.from(this.#head, 'latin1')
    this.#head = ''
    return bytes
  }
}

interface CloudTrailRecord {
  readonly CloudTrailEvent?: string
  readonly eventSource?: string
  readonly eventName?: string
  readonly eventTime?: string
  readonly requestID?: string
  readonly errorCode?: string
  readonly userIdentity?: { readonly arn?: string }
  readonly resources?: readonly { readonly type?: string; readonly ARN?: string }[] | null
  readonly requestParameters?: { readonly keyId?: unknown } | null
}

/** Returns undefined for a record of another service. */
export function toKmsEvent(value: unknown): KmsEvent | undefined {
  let record = value as CloudTrailRecord
  // LookupEvents wraps each event as a JSON string.
  if (typeof record.CloudTrailEvent === 'string') {
    record = JSON.parse(record.CloudTrailEvent) as CloudTrailRecord
  }
  const { eventSource, eventName, eventTime, requestID } = record
  if (eventSource !== 'kms.amazonaws.com' || requestID === undefined) return undefined
  const named = record.requestParameters?.keyId
  const listed = (record.resources ?? []).flatMap(({ ARN }) => ARN ?? [])
  const keys = [...listed, ...(typeof named === 'string' ? [named] : [])]
  return {
    kmsRequestId: requestID,
    at: Date.parse(eventTime ?? ''),
    operation: eventName ?? '',
    principal: record.userIdentity?.arn,
    keyArns: [...new Set(keys.filter((one) => /^arn:[^:]+:kms:[^:]+:\d+:key\//.test(one)))],
    errorCode: record.errorCode,
  }
}
