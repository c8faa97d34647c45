/** AES-256-GCM by WebCrypto, with keys that cannot be taken out again. */
// SPDX-License-Identifier: Apache-2.0
import { randomFillSync } from 'node:crypto'
import { Crypto } from '@peculiar/webcrypto'
import { BackendError } from '../errors.ts'
import type { EncryptedBytes, SealedBytes } from '../key-backend.ts'

/**
 * @peculiar/webcrypto runs on the calling thread. Node's own WebCrypto sends each call through the
 * thread pool, which costs several times the work for the 32 bytes of a data key
 * (docs/decisions/0003-webcrypto.md has the figures).
 */
const { subtle } = new Crypto()

const IV_BYTES = 12
const TAG_BYTES = 16
/** Random bytes are drawn for this many IVs at a time. */
const IVS_PER_DRAW = 256

let drawn = Buffer.alloc(0)

/** 12 random bytes. Every IV has bytes of its own: a drawn block is used up, never reused. */
function nextIv(): Buffer {
  if (drawn.length < IV_BYTES)
    drawn = randomFillSync(Buffer.allocUnsafeSlow(IV_BYTES * IVS_PER_DRAW))
  const iv = drawn.subarray(0, IV_BYTES)
  drawn = drawn.subarray(IV_BYTES)
  return iv
}

/** @param material 32 bytes; wiped before the promise settles */
export async function importKey(material: Buffer): Promise<CryptoKey> {
  try {
    return await subtle.importKey('raw', material, 'AES-GCM', false, ['encrypt', 'decrypt'])
  } finally {
    material.fill(0)
  }
}

/** A fresh random IV each time: NIST SP 800-38D, 8.2.2, and 8.3 for how often. */
export async function seal(key: CryptoKey, plaintext: Buffer, aad: Buffer): Promise<SealedBytes> {
  const iv = nextIv()
  const parameters = { name: 'AES-GCM', iv, additionalData: aad, tagLength: TAG_BYTES * 8 }
  const bytes = Buffer.from(await subtle.encrypt(parameters, key, plaintext))
  return {
    iv,
    ciphertext: bytes.subarray(0, plaintext.length),
    tag: bytes.subarray(plaintext.length),
  }
}

/** @throws BackendError INTEGRITY_FAILURE, the same whatever is wrong */
export async function unseal(key: CryptoKey, sealed: EncryptedBytes, aad: Buffer): Promise<Buffer> {
  const { iv, ciphertext, tag } = sealed
  const parameters = { name: 'AES-GCM', iv, additionalData: aad, tagLength: TAG_BYTES * 8 }
  try {
    return Buffer.from(await subtle.decrypt(parameters, key, Buffer.concat([ciphertext, tag])))
  } catch {
    // OpenSSL's text says nothing that the caller may know.
    throw new BackendError('INTEGRITY_FAILURE', 'the ciphertext does not verify')
  }
}

/** Encrypts and decrypts once, so that a key which does not work is found before it is used. */
export async function selfTest(key: CryptoKey): Promise<void> {
  const plaintext = Buffer.from('latchkey self-test')
  const aad = Buffer.from('aad')
  const sealed = await seal(key, plaintext, aad)
  const opened = await unseal(key, { version: 1, ...sealed }, aad)
  if (!opened.equals(plaintext)) throw new BackendError('UNAVAILABLE', 'a key failed its self-test')
}
