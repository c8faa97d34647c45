/** Wraps secrets and authenticates rows under the store key. */
// SPDX-License-Identifier: Apache-2.0
import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createSecretKey,
  hkdfSync,
  randomBytes,
  type KeyObject,
} from 'node:crypto'
import { StorageError, type SqlValue } from './database.ts'

const IV_BYTES = 12
const TAG_BYTES = 16

export interface Sealing {
  /**
   * AES-256-GCM, Base64 of IV, ciphertext and tag. `context` says whose secret it is and is bound by
   * the tag, so a wrapped secret cannot be moved to another row.
   */
  wrap(context: readonly SqlValue[], secret: Buffer): string
  /** @throws StorageError STORE_TAMPERED */
  unwrap(context: readonly SqlValue[], wrapped: string): Buffer
  /** HMAC-SHA-256 over an encoding in which no two lists of fields look alike; Base64. */
  authenticate(fields: readonly SqlValue[]): string
}

/** @param storeKey 32 bytes; two independent keys are derived from it, and it is not kept */
export function createSealing(storeKey: Buffer): Sealing {
  const wrappingKey = deriveKey(storeKey, 'latchkey store v1: wrapping')
  const rowKey = deriveKey(storeKey, 'latchkey store v1: rows')
  return {
    wrap: (context, secret) => seal(wrappingKey, encodeFields(context), secret),
    unwrap: (context, wrapped) => {
      const secret = unseal(wrappingKey, encodeFields(context), wrapped)
      if (secret === undefined) {
        throw new StorageError('STORE_TAMPERED', 'a wrapped secret of the store does not open')
      }
      return secret
    },
    authenticate: (fields) =>
      createHmac('sha256', rowKey).update(encodeFields(fields)).digest('base64'),
  }
}

function deriveKey(storeKey: Buffer, info: string): KeyObject {
  return createSecretKey(Buffer.from(hkdfSync('sha256', storeKey, '', info, 32)))
}

/** Base64 of 12 bytes of IV, the ciphertext, and 16 bytes of tag. */
export function seal(key: KeyObject, aad: Buffer, plaintext: Buffer): string {
  const iv = randomBytes(IV_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key, iv, { authTagLength: TAG_BYTES })
  cipher.setAAD(aad)
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
  return Buffer.concat([iv, ciphertext, cipher.getAuthTag()]).toString('base64')
}

/** Undefined when it was sealed under another key or with another AAD, or was changed. */
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

/** Type, length and bytes of each field: `['a', 'b']` and `['ab', '']` differ, as do 1 and '1'. */
export function encodeFields(fields: readonly SqlValue[]): Buffer {
  const parts = fields.map((field) => {
    const type =
      field === null ? 'n' : typeof field === 'number' ? 'i' : typeof field === 'string' ? 's' : 'b'
    const bytes = field instanceof Uint8Array ? field : Buffer.from(String(field ?? ''), 'utf8')
    const head = Buffer.alloc(5)
    head.write(type, 0, 'latin1')
    head.writeUInt32BE(bytes.length, 1)
    return Buffer.concat([head, bytes])
  })
  return Buffer.concat(parts)
}
