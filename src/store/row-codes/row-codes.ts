/**
 * Verifies the codes of many sealed rows in one call. The add-on (row-codes.c) computes them with Node.js's own OpenSSL, in a
 * sixth of the time. Where it cannot be loaded, node:crypto computes the same codes one by one.
 */
// SPDX-License-Identifier: Apache-2.0
import { createHmac, type KeyObject, timingSafeEqual } from 'node:crypto'
import { createRequire } from 'node:module'
import { describeMissingAddOn } from '../../core/native-add-on.ts'
import { type EncodedRows, MAC_CHARACTERS } from '../encoding.ts'

/** Size of a row's element in bytes. */
export const ELEMENT_BYTES = 32
const MODULUS = 2n ** 256n

/** Relative to the project root, so it resolves from dist/ and from .test-build/. */
const FILE = '../../../../src/store/row-codes/build/Release/row_codes.node'

/** A row key, prepared for one of the two ways to compute codes. */
export type RowKey =
  /** `handle` refers to the add-on's copy, which is overwritten when it is collected. */
  { readonly addOn: AddOn; readonly handle: object } | { readonly key: KeyObject }

/** row-codes.c documents each function. */
interface AddOn {
  createKey(key: Buffer): object
  verify(
    first: object,
    second: object | undefined,
    rows: Buffer,
    ends: Uint32Array,
    elements: Buffer,
    sum: Buffer,
  ): number
}

/** Rows that verify. */
export interface VerifiedRows {
  /** The element of each row: ELEMENT_BYTES bytes, most significant first. */
  readonly elements: Buffer
  /** Sum of the elements, below 2^256. */
  readonly sum: bigint
}

let loaded: { readonly addOn?: AddOn; readonly missing?: string } | undefined

/** Loads the add-on at its first use on each thread. */
function load(): NonNullable<typeof loaded> {
  if (loaded !== undefined) return loaded
  try {
    loaded = { addOn: createRequire(import.meta.url)(FILE) as AddOn }
  } catch (error) {
    loaded = { missing: describeMissingAddOn(error) }
  }
  return loaded
}

/** Returns the reason why node:crypto computes the codes; undefined if the add-on does. */
export function missingRowCodes(): string | undefined {
  return load().missing
}

/** @param key 32 bytes */
export function createRowKey(key: KeyObject): RowKey {
  const { addOn } = load()
  return addOn === undefined ? { key } : createNativeRowKey(key, addOn)
}

function createNativeRowKey(key: KeyObject, addOn: AddOn): RowKey {
  const bytes = key.export()
  try {
    return { addOn, handle: addOn.createKey(bytes) }
  } finally {
    bytes.fill(0)
  }
}

/**
 * Verifies each row with either of the keys, which are of the same kind.
 * @returns the index of the first row that does not verify, if there is one
 */
export function verifyRows(
  rows: EncodedRows,
  first: RowKey,
  second?: RowKey,
): VerifiedRows | number {
  const count = rows.ends.length
  const elements = Buffer.allocUnsafe(count * ELEMENT_BYTES)
  const sum = Buffer.alloc(ELEMENT_BYTES)
  const verified = verifyInto({ rows, elements, sum }, first, second)
  return verified < count ? verified : { elements, sum: toNumber(sum) }
}

/** Returns the number of rows before the first one that does not verify. */
function verifyInto(into: Output, first: RowKey, second: RowKey | undefined): number {
  if ('key' in first) {
    const keys = second !== undefined && 'key' in second ? [first.key, second.key] : [first.key]
    return verifyWithNode(into, keys)
  }
  const other = second !== undefined && 'handle' in second ? second.handle : undefined
  const { rows, elements, sum } = into
  return first.addOn.verify(first.handle, other, rows.bytes, rows.ends, elements, sum)
}

interface Output {
  readonly rows: EncodedRows
  readonly elements: Buffer
  readonly sum: Buffer
}

function verifyWithNode({ rows, elements, sum }: Output, keys: readonly KeyObject[]): number {
  let total = 0n
  let at = 0
  for (const [i, end] of rows.ends.entries()) {
    const fields = rows.bytes.subarray(at, end - MAC_CHARACTERS)
    const mac = rows.bytes.subarray(end - MAC_CHARACTERS, end)
    const element = findElement(fields, mac, keys)
    if (element === undefined) return i
    elements.set(element, i * ELEMENT_BYTES)
    total = (total + toNumber(element)) % MODULUS
    at = end
  }
  sum.set(toBytes(total))
  return rows.ends.length
}

function findElement(fields: Buffer, mac: Buffer, keys: readonly KeyObject[]): Buffer | undefined {
  for (const key of keys) {
    const code = createHmac('sha512', key).update(fields).digest()
    const expected = Buffer.from(code.toString('base64', 0, code.length - ELEMENT_BYTES))
    if (timingSafeEqual(expected, mac)) return code.subarray(code.length - ELEMENT_BYTES)
  }
  return undefined
}

/** @param bytes ELEMENT_BYTES bytes */
export function toNumber(bytes: Buffer): bigint {
  return BigInt(`0x${bytes.toString('hex')}`)
}

/** @param element below 2^256 */
export function toBytes(element: bigint): Buffer {
  return Buffer.from(element.toString(16).padStart(2 * ELEMENT_BYTES, '0'), 'hex')
}
