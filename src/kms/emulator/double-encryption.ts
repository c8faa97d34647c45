/**
 * Implements KMS's double encryption: encrypts with KMS's own key material first, has the proxy
 * encrypt the result, and checks the response. Neither side can decrypt alone.
 */
// SPDX-License-Identifier: Apache-2.0
import { createCipheriv, createDecipheriv, createHash, type KeyObject } from 'node:crypto'
import { parseBase64 } from '../../core/base64.ts'
import { equalBytes } from '../../core/constant-time.ts'
import { drawIv, IV_BYTES } from '../../core/kernel-random.ts'
import { ProxyFailure } from './proxy-failure.ts'
import type { SealedByProxy } from './ciphertext-blob.ts'

const CIPHER = 'aes-256-gcm'
const TAG_BYTES = 16
/** Largest ciphertextMetadata in bytes that KMS accepts (XKS 1.0.3, Encrypt). */
const MAX_METADATA_BYTES = 20

/** Returns IV, ciphertext and tag: 28 bytes more than the plaintext. */
export function encryptInside(material: KeyObject, plaintext: Buffer, aad: Buffer): Buffer {
  const iv = drawIv()
  const cipher = createCipheriv(CIPHER, material, iv).setAAD(aad)
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()])
  return Buffer.concat([iv, ciphertext, cipher.getAuthTag()])
}

/** Returns undefined if the ciphertext was not made with this key and AAD. */
export function decryptInside(
  material: KeyObject,
  sealed: Buffer,
  aad: Buffer,
): Buffer | undefined {
  if (sealed.length < IV_BYTES + TAG_BYTES) return undefined
  const decipher = createDecipheriv(CIPHER, material, sealed.subarray(0, IV_BYTES))
    .setAAD(aad)
    .setAuthTag(sealed.subarray(-TAG_BYTES))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(IV_BYTES, -TAG_BYTES)), decipher.final()])
  } catch {
    return undefined
  }
}

/**
 * Checks the response to Encrypt: the lengths that the specification requires, and the CDIV (XKS
 * 1.0.3, Appendix C).
 * @throws ProxyFailure MALFORMED
 */
export function parseSealed(answer: unknown, inner: Buffer, aad: Buffer): SealedByProxy {
  const sealed = {
    ciphertext: takeBytes(answer, 'ciphertext', [inner.length, inner.length]),
    ciphertextMetadata: takeBytes(answer, 'ciphertextMetadata', [0, MAX_METADATA_BYTES]),
    initializationVector: takeBytes(answer, 'initializationVector', [12, 16]),
    authenticationTag: takeBytes(answer, 'authenticationTag', [TAG_BYTES, TAG_BYTES]),
  }
  const { length } = sealed.initializationVector
  if (length !== 12 && length !== 16)
    malformed(`expected an initializationVector of 12 or 16 bytes, found ${String(length)}`)
  const cdiv = takeBytes(answer, 'ciphertextDataIntegrityValue', [32, 32])
  if (!equalBytes(cdiv, computeCdiv(aad, sealed))) {
    malformed('ciphertextDataIntegrityValue does not match the other fields')
  }
  return sealed
}

/** Computes the CDIV without the proxy's code, because KMS computes it independently. */
function computeCdiv(aad: Buffer, sealed: SealedByProxy): Buffer {
  return createHash('sha256')
    .update(aad)
    .update(sealed.ciphertextMetadata)
    .update(sealed.initializationVector)
    .update(sealed.ciphertext)
    .update(sealed.authenticationTag)
    .digest()
}

/** Checks the response to Decrypt. @throws ProxyFailure MALFORMED */
export function parseOpened(answer: unknown, sealed: SealedByProxy): Buffer {
  const { length } = sealed.ciphertext
  return takeBytes(answer, 'plaintext', [length, length])
}

function takeBytes(
  answer: unknown,
  field: string,
  [least, most]: readonly [number, number],
): Buffer {
  const text = (answer as Readonly<Record<string, unknown>>)[field]
  if (text === undefined && least === 0) return Buffer.alloc(0)
  const bytes = typeof text === 'string' ? parseBase64(text) : undefined
  if (bytes === undefined) malformed(`expected ${field} in Base64`)
  if (bytes.length < least || bytes.length > most) {
    const range = least === most ? String(least) : `${String(least)} to ${String(most)}`
    malformed(`expected ${field} of ${range} bytes, found ${String(bytes.length)}`)
  }
  return bytes
}

function malformed(message: string): never {
  throw new ProxyFailure('MALFORMED', message)
}
