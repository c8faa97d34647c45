/** Encodes the fields that a code covers, injectively, and rows of a sealed table together with their MACs. */
// SPDX-License-Identifier: Apache-2.0
import { StorageError, type Row, type SqlValue } from './database.ts'

/**
 * Encodes each field's type, length and bytes, so that `['a', 'b']` and `['ab', '']` differ, as do
 * 1 and '1'.
 */
export function encodeFields(fields: readonly SqlValue[]): Buffer {
  return encodeAscii(fields) ?? encodeAny(fields)
}

/**
 * Encodes short ASCII fields, which almost all rows consist of, through one string. This takes half
 * the time of `encodeAny`, which matters when a full read verifies every row.
 * @returns undefined if there are other fields
 */
function encodeAscii(fields: readonly SqlValue[]): Buffer | undefined {
  let text = ''
  for (const field of fields) {
    if (field instanceof Uint8Array) return undefined
    const value = field === null ? '' : String(field)
    const header = SHORT_HEADERS[typeOf(field)][value.length]
    if (header === undefined) return undefined
    text += header + value
  }
  const bytes = Buffer.from(text, 'utf8')
  // A character outside of ASCII takes more than one byte.
  return bytes.length === text.length ? bytes : undefined
}

/** Headers of fields with up to 127 bytes, which are themselves ASCII. */
const headersOf = (type: string) =>
  Array.from({ length: 128 }, (_, length) => `${type}\0\0\0${String.fromCharCode(length)}`)
const SHORT_HEADERS = {
  n: headersOf('n'),
  i: headersOf('i'),
  s: headersOf('s'),
  b: headersOf('b'),
}

function encodeAny(fields: readonly SqlValue[]): Buffer {
  const bytes = Buffer.allocUnsafe(fields.reduce<number>((sum, field) => sum + mostBytes(field), 0))
  let at = 0
  for (const field of fields) {
    const start = at + HEADER_BYTES
    let length = 0
    if (field instanceof Uint8Array) {
      bytes.set(field, start)
      length = field.length
    } else if (field !== null) length = bytes.write(String(field), start, 'utf8')
    bytes.write(typeOf(field), at, 'latin1')
    bytes.writeUInt32BE(length, at + 1)
    at = start + length
  }
  return bytes.subarray(0, at)
}

/** Number of bytes that encode a field's type and length. */
const HEADER_BYTES = 5
/** A UTF-16 code unit takes at most this many bytes in UTF-8. */
const MOST_BYTES = 3
/** A number has at most this many characters, such as -1.7976931348623157e+308. */
const NUMBER_CHARACTERS = 24

function mostBytes(field: SqlValue): number {
  if (field === null) return HEADER_BYTES
  if (typeof field === 'string') return HEADER_BYTES + field.length * MOST_BYTES
  if (field instanceof Uint8Array) return HEADER_BYTES + field.length
  return HEADER_BYTES + NUMBER_CHARACTERS
}

function typeOf(field: SqlValue): 'n' | 'i' | 's' | 'b' {
  if (field === null) return 'n'
  return typeof field === 'number' ? 'i' : typeof field === 'string' ? 's' : 'b'
}

/** Characters of a MAC: 32 bytes in Base64. */
export const MAC_CHARACTERS = 44
/** Stands for a MAC of another length or with other characters, which no row has. */
const NO_MAC = ' '.repeat(MAC_CHARACTERS)

/**
 * Maximum number of bytes that the fields of a page are encoded to. The largest documents stay far
 * below it, and an offset in a page must fit into 32 bits.
 */
const MOST_PAGE_BYTES = 2 ** 31

/** Rows in one buffer, ready to be verified in one call. */
export interface EncodedRows {
  /**
   * The encoded fields of each row, followed by the MAC_CHARACTERS bytes of its MAC. The next call of `encodeRows` reuses
   * the memory.
   */
  readonly bytes: Buffer
  /** Offset in `bytes` at which each row ends. */
  readonly ends: Uint32Array
}

/** Memory for the rows of a page, replaced by a larger one when needed. */
let memory = Buffer.alloc(0)

/**
 * Encodes what the codes of rows cover: the name of their table, then these columns.
 * @returns undefined if a row lacks a column
 * @throws StorageError STORE_CORRUPT if the rows are larger than any that Latchkey writes
 */
export function encodeRows(
  table: string,
  columns: readonly string[],
  rows: readonly Row[],
): EncodedRows | undefined {
  const start = encodeFields([table])
  const encoded = encodeAsciiRows(start.toString('utf8'), columns, rows)
  if (encoded !== undefined) return encoded
  requireSize(table, columns, rows)
  return encodeAnyRows(start, columns, rows)
}

function requireSize(table: string, columns: readonly string[], rows: readonly Row[]): void {
  let most = 0
  for (const row of rows) {
    for (const name of columns) most += mostBytes(row[name] ?? null)
  }
  if (most <= MOST_PAGE_BYTES) return
  throw new StorageError(
    'STORE_CORRUPT',
    `expected rows of at most 2 GiB in a page of ${table}, found up to ${String(most)} bytes`,
  )
}

/** @returns undefined if there are other fields than those of `encodeAscii`, or if a row lacks a column */
function encodeAsciiRows(
  start: string,
  columns: readonly string[],
  rows: readonly Row[],
): EncodedRows | undefined {
  const ends = new Uint32Array(rows.length)
  let text = ''
  for (const [i, row] of rows.entries()) {
    text += start
    for (const name of columns) {
      const field = row[name]
      if (field === undefined || field instanceof Uint8Array) return undefined
      const value = field === null ? '' : String(field)
      const header = SHORT_HEADERS[typeOf(field)][value.length]
      if (header === undefined) return undefined
      text += header + value
    }
    text += macOf(row)
    ends[i] = text.length
  }
  reserve(text.length * MOST_BYTES)
  // A character outside of ASCII takes more than one byte.
  if (memory.write(text, 0, 'utf8') !== text.length) return undefined
  return { bytes: memory.subarray(0, text.length), ends }
}

function encodeAnyRows(
  start: Buffer,
  columns: readonly string[],
  rows: readonly Row[],
): EncodedRows | undefined {
  const ends = new Uint32Array(rows.length)
  const parts: Buffer[] = []
  let at = 0
  for (const [i, row] of rows.entries()) {
    const fields: SqlValue[] = []
    for (const name of columns) {
      const field = row[name]
      if (field === undefined) return undefined
      fields.push(field)
    }
    const mac = Buffer.from(macOf(row), 'utf8')
    const encoded = encodeFields(fields)
    // A character outside of ASCII takes more than one byte.
    parts.push(start, encoded, mac.length === MAC_CHARACTERS ? mac : Buffer.from(NO_MAC))
    at += start.length + encoded.length + MAC_CHARACTERS
    ends[i] = at
  }
  return { bytes: Buffer.concat(parts), ends }
}

/** Only text counts, as in `codeWith`: the tables also accept other types, such as a BLOB of the same bytes. */
function macOf({ mac }: Row): string {
  return typeof mac === 'string' && mac.length === MAC_CHARACTERS ? mac : NO_MAC
}

function reserve(sizeBytes: number): void {
  if (memory.length < sizeBytes) memory = Buffer.alloc(sizeBytes)
}
