/**
 * Wraps secrets and authenticates rows with a store key. keyring.ts combines two of these sealings.
 */
// SPDX-License-Identifier: Apache-2.0
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hkdfSync,
  type KeyObject,
} from 'node:crypto'
import { drawIv, IV_BYTES } from '../core/kernel-random.ts'
import { StorageError, type SqlValue } from './database.ts'
import { encodeFields, type EncodedRows } from './encoding.ts'
import { createRowKey, type RowKey, verifyRows, type VerifiedRows } from './row-codes/row-codes.ts'

const TAG_BYTES = 16
/** Hexadecimal digits of the stored half of a row's code. */
const MAC_DIGITS = 64

export interface Sealing {
  /**
   * Encrypts with AES-256-GCM and returns the IV, ciphertext and tag in Base64. The tag binds
   * `context`, which names the secret's owner, so a wrapped secret cannot be moved to another row.
   */
  wrap(context: readonly SqlValue[], secret: Buffer): string
  /** @throws StorageError STORE_TAMPERED */
  unwrap(context: readonly SqlValue[], wrapped: string): Buffer
  /** Returns an HMAC-SHA-256 in Base64, computed over an injective encoding of the fields. */
  authenticate(fields: readonly SqlValue[]): string
  /**
   * Computes HMAC-SHA-512 over the same encoding and splits it in two. One half is stored next to
   * the row as its MAC. The other half never leaves this process; it is the row's element of the
   * table's sum (sealed-state.ts).
   */
  code(fields: readonly SqlValue[]): RowCode
  /**
   * Returns the row code for these fields if `mac` is the stored half of that code; otherwise
   * undefined.
   */
  codeWith(fields: readonly SqlValue[], mac: SqlValue): RowCode | undefined
  /**
   * Verifies rows like `codeWith`, with one call for all of them. Returns the index of the first
   * row that does not verify, if there is one.
   */
  verifyRows(rows: EncodedRows): VerifiedRows | number
  /** Reports whether `authenticate` would return `mac` for these fields. */
  isAuthentic(fields: readonly SqlValue[], mac: SqlValue): boolean
  /** Like `authenticate`, but uses this process's newest key, to prove possession of that key. */
  prove(fields: readonly SqlValue[]): string
  /** Reports whether `prove` would return `mac` in a process that has the same newest key. */
  isProven(fields: readonly SqlValue[], mac: SqlValue): boolean
  /**
   * Returns 32 bytes that depend only on the key that the store was created with, and on the
   * purpose.
   */
  derive(purpose: string): Buffer
}

/** Seals with a single store key. */
export interface KeySealing extends Sealing {
  /** Input for `createSealingOf` on another thread of this process. */
  readonly keys: SealingKeys
  /** The row key, ready for `verifyRows`. */
  readonly rowKey: () => RowKey
}

/** Keys derived from a store key. */
export interface SealingKeys {
  readonly wrapping: KeyObject
  readonly record: KeyObject
  readonly row: KeyObject
  /** The 32-byte key that `derive` uses, independent of the rest of the store key. */
  readonly purpose: KeyObject
}

export interface RowCode {
  /** The stored half, in Base64. */
  readonly mac: string
  /** The secret half, below 2^256. */
  readonly element: bigint
}

/** @param storeKey 32 bytes; independent keys are derived from it, and it is not retained */
export function createSealing(storeKey: Buffer): KeySealing {
  return createSealingOf({
    wrapping: deriveKey(storeKey, 'latchkey store v1: wrapping'),
    record: deriveKey(storeKey, 'latchkey store v1: rows'),
    row: deriveKey(storeKey, 'latchkey store v2: rows'),
    purpose: deriveKey(storeKey, 'latchkey store v2: purposes'),
  })
}

/** @param keys the `keys` property of another sealing */
export function createSealingOf(keys: SealingKeys): KeySealing {
  function authenticate(fields: readonly SqlValue[]): string {
    return createHmac('sha256', keys.record).update(encodeFields(fields)).digest('base64')
  }

  function code(fields: readonly SqlValue[]): RowCode {
    // A digest as text is a fifth cheaper than a Buffer, whose memory is allocated separately.
    const digest = createHmac('sha512', keys.row).update(encodeFields(fields)).digest('hex')
    return {
      mac: Buffer.from(digest.slice(0, MAC_DIGITS), 'hex').toString('base64'),
      element: BigInt(`0x${digest.slice(MAC_DIGITS)}`),
    }
  }

  let prepared: RowKey | undefined
  const rowKey = () => (prepared ??= createRowKey(keys.row))
  const isAuthentic = (fields: readonly SqlValue[], mac: SqlValue) => mac === authenticate(fields)
  return {
    keys,
    rowKey,
    authenticate,
    code,
    isAuthentic,
    prove: authenticate,
    isProven: isAuthentic,
    codeWith(fields, mac) {
      const found = code(fields)
      return found.mac === mac ? found : undefined
    },
    verifyRows: (rows) => verifyRows(rows, rowKey()),
    wrap: (context, secret) => seal(keys.wrapping, encodeFields(context), secret),
    unwrap: (context, wrapped) => {
      const secret = unseal(keys.wrapping, encodeFields(context), wrapped)
      if (secret === undefined) {
        throw new StorageError(
          'STORE_TAMPERED',
          'a wrapped secret of the store cannot be unwrapped',
        )
      }
      return secret
    },
    derive: (purpose) => derive(keys.purpose, purpose),
  }
}

/** @param purposeKey the `purpose` key in SealingKeys */
export function derive(purposeKey: KeyObject, purpose: string): Buffer {
  return createHmac('sha256', purposeKey).update(purpose).digest()
}

function deriveKey(storeKey: Buffer, info: string): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', storeKey, '', info, 32)))
}

/** Returns the IV (12 bytes), the ciphertext and the tag (16 bytes), in Base64. */
export function seal(key: KeyObject, aad: Buffer, plaintext: Buffer): string {
  const iv = drawIv()
  const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES })
  cipher.setAAD(aad)
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
  return Buffer.concat([iv, ciphertext, cipher.getAuthTag()]).toString('base64')
}

/** Returns undefined if the text was tampered with, or was sealed under a different key or AAD. */
export function unseal(key: KeyObject, aad: Buffer, sealed: string): Buffer | undefined {
  const bytes = Buffer.from(sealed, 'base64')
  if (bytes.length < IV_BYTES + TAG_BYTES) return undefined
  const tagAt = bytes.length - TAG_BYTES
  const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, IV_BYTES), {
    authTagLength: TAG_BYTES,
  })
  decipher.setAAD(aad)
  decipher.setAuthTag(bytes.subarray(tagAt))
  try {
    return Buffer.concat([decipher.update(bytes.subarray(IV_BYTES, tagAt)), decipher.final()])
  } catch {
    return undefined
  }
}
