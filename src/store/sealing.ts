/** Wraps secrets and authenticates rows under a store key. keyring.ts combines two of them. */
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

const TAG_BYTES = 16

export interface Sealing {
  /**
   * Encrypts with AES-256-GCM; returns Base64 of IV, ciphertext and tag. The tag binds `context`,
   * which says whose secret it is, so a wrapped secret cannot be moved to another row.
   */
  wrap(context: readonly SqlValue[], secret: Buffer): string
  /** @throws StorageError STORE_TAMPERED */
  unwrap(context: readonly SqlValue[], wrapped: string): Buffer
  /** Returns HMAC-SHA-256 in Base64 over an encoding that is unique for each list of fields. */
  authenticate(fields: readonly SqlValue[]): string
  /**
   * Computes HMAC-SHA-512 over the same encoding and splits it. One half is stored visibly next to
   * the row. The other half never leaves this process; it is what the row adds to the sum over its
   * table (sealed-state.ts).
   */
  code(fields: readonly SqlValue[]): RowCode
  /** Returns the code of these fields if `mac` is its visible half; otherwise undefined. */
  codeWith(fields: readonly SqlValue[], mac: SqlValue): RowCode | undefined
  /** Reports whether `authenticate` returned `mac` for these fields. */
  isAuthentic(fields: readonly SqlValue[], mac: SqlValue): boolean
  /**
   * Like `authenticate`, but with the newest key that this process has, which proves that it has
   * that key.
   */
  prove(fields: readonly SqlValue[]): string
  /** Reports whether `prove` returned `mac` in a process that has the same newest key. */
  isProven(fields: readonly SqlValue[], mac: SqlValue): boolean
  /** Returns 32 bytes that depend on the key with which the store was created, and on the purpose. */
  derive(purpose: string): Buffer
}

/** The sealing of one store key. */
export interface KeySealing extends Sealing {
  /** For `createSealingOf` in another thread of this process. */
  readonly keys: SealingKeys
}

/** Keys derived from a store key. */
export interface SealingKeys {
  readonly wrapping: KeyObject
  readonly record: KeyObject
  readonly row: KeyObject
  /** `derive` depends only on this key, 32 bytes, and not on the rest of the store key. */
  readonly purpose: KeyObject
}

export interface RowCode {
  /** Base64. */
  readonly mac: string
  /** Below 2^256. */
  readonly element: bigint
}

/** @param storeKey 32 bytes; independent keys are derived from it, and it is not kept */
export function createSealing(storeKey: Buffer): KeySealing {
  return createSealingOf({
    wrapping: deriveKey(storeKey, 'latchkey store v1: wrapping'),
    record: deriveKey(storeKey, 'latchkey store v1: rows'),
    row: deriveKey(storeKey, 'latchkey store v2: rows'),
    purpose: deriveKey(storeKey, 'latchkey store v2: purposes'),
  })
}

/** @param keys the `keys` of another sealing */
export function createSealingOf(keys: SealingKeys): KeySealing {
  function authenticate(fields: readonly SqlValue[]): string {
    return createHmac('sha256', keys.record).update(encodeFields(fields)).digest('base64')
  }

  function code(fields: readonly SqlValue[]): RowCode {
    const bytes = createHmac('sha512', keys.row).update(encodeFields(fields)).digest()
    return {
      mac: bytes.toString('base64', 0, 32),
      element: BigInt(`0x${bytes.toString('hex', 32)}`),
    }
  }

  const isAuthentic = (fields: readonly SqlValue[], mac: SqlValue) => mac === authenticate(fields)
  return {
    keys,
    authenticate,
    code,
    isAuthentic,
    prove: authenticate,
    isProven: isAuthentic,
    codeWith(fields, mac) {
      const found = code(fields)
      return found.mac === mac ? found : undefined
    },
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

/** @param purposeKey the `purpose` key of SealingKeys */
export function derive(purposeKey: KeyObject, purpose: string): Buffer {
  return createHmac('sha256', purposeKey).update(purpose).digest()
}

function deriveKey(storeKey: Buffer, info: string): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', storeKey, '', info, 32)))
}

/** Returns Base64 of the IV (12 bytes), the ciphertext, and the tag (16 bytes). */
export function seal(key: KeyObject, aad: Buffer, plaintext: Buffer): string {
  const iv = drawIv()
  const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES })
  cipher.setAAD(aad)
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
  return Buffer.concat([iv, ciphertext, cipher.getAuthTag()]).toString('base64')
}

/** Returns undefined if the text was sealed under another key or AAD, or was changed. */
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

/**
 * Encodes type, length and bytes of each field, so that `['a', 'b']` and `['ab', '']` differ, as do
 * 1 and '1'.
 */
export function encodeFields(fields: readonly SqlValue[]): Buffer {
  const values = fields.map((field) =>
    field instanceof Uint8Array ? field : field === null ? '' : String(field),
  )
  const lengths = values.map((value) =>
    typeof value === 'string' ? Buffer.byteLength(value) : value.length,
  )
  const bytes = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + 5 + length, 0))
  let at = 0
  for (const [i, value] of values.entries()) {
    const length = lengths[i] ?? 0
    at = bytes.writeUInt8(typeOf(fields[i] ?? null), at)
    at = bytes.writeUInt32BE(length, at)
    if (typeof value === 'string') bytes.write(value, at, 'utf8')
    else bytes.set(value, at)
    at += length
  }
  return bytes
}

function typeOf(field: SqlValue): number {
  const type =
    field === null ? 'n' : typeof field === 'number' ? 'i' : typeof field === 'string' ? 's' : 'b'
  return type.charCodeAt(0)
}
