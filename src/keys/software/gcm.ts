/** AES-256-GCM with keys that cannot be taken out again. */
// SPDX-License-Identifier: Apache-2.0
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  randomFillSync,
  type KeyObject,
} from 'node:crypto'
import { Crypto } from '@peculiar/webcrypto'
import { equalBytes } from '../../core/constant-time.ts'
import { BackendError } from '../errors.ts'
import type { DecryptRequest, EncryptRequest, SealedBytes } from '../key-backend.ts'

const { subtle } = new Crypto()

const CIPHER = 'aes-256-gcm'
const KEY_BYTES = 32
const IV_BYTES = 12
const TAG_BYTES = 16
const OPTIONS = { authTagLength: TAG_BYTES }
/** Random bytes are drawn for this many IVs at a time. */
const IVS_PER_DRAW = 256

let drawn = Buffer.alloc(0)
let drawnUsed = 0

/** 12 random bytes. Every IV has bytes of its own: a drawn block is used up, never reused. */
function nextIv(): Buffer {
  if (drawnUsed === drawn.length) {
    drawn = randomFillSync(Buffer.allocUnsafeSlow(IV_BYTES * IVS_PER_DRAW))
    drawnUsed = 0
  }
  return drawn.subarray(drawnUsed, (drawnUsed += IV_BYTES))
}

/** Seals and unseals on the calling thread; nothing outside of this class reaches the key itself. */
export class SoftwareKey {
  readonly #key: KeyObject

  /** @param key of 32 bytes */
  constructor(key: KeyObject) {
    this.#key = key
  }

  /** A fresh random IV each time: NIST SP 800-38D, 8.2.2, and 8.3 for how often. */
  seal({ plaintext, aad }: Pick<EncryptRequest, 'plaintext' | 'aad'>): SealedBytes {
    const iv = nextIv()
    const cipher = createCipheriv(CIPHER, this.#key, iv, OPTIONS)
    cipher.setAAD(aad)
    // GCM is a stream: all bytes come from `update`, and `final` only makes the tag.
    const ciphertext = cipher.update(plaintext)
    cipher.final()
    return { iv, ciphertext, tag: cipher.getAuthTag() }
  }

  /** @throws BackendError INTEGRITY_FAILURE, the same whatever is wrong */
  unseal(request: Omit<DecryptRequest, 'version' | 'deadline'>): Buffer {
    const { iv, ciphertext, tag, aad } = request
    try {
      const decipher = createDecipheriv(CIPHER, this.#key, iv, OPTIONS)
      decipher.setAAD(aad)
      decipher.setAuthTag(tag)
      const plaintext = decipher.update(ciphertext)
      decipher.final()
      return plaintext
    } catch {
      // OpenSSL's text says nothing that the caller may know.
      throw new BackendError('INTEGRITY_FAILURE', 'the ciphertext does not verify')
    }
  }
}

/**
 * A key that has proven itself against another implementation of the cipher's interface: WebCrypto
 * opens what it seals, and it opens what WebCrypto sealed.
 * @param material 32 bytes; wiped before the promise settles
 * @throws BackendError UNAVAILABLE for a key that does not work
 */
export async function importKey(material: Buffer): Promise<SoftwareKey> {
  try {
    if (material.length !== KEY_BYTES) throw new TypeError('the key has not 32 bytes')
    const standard = await subtle.importKey('raw', material, 'AES-GCM', false, [
      'encrypt',
      'decrypt',
    ])
    const key = new SoftwareKey(createSecretKey(material))
    await compare(key, standard)
    return key
  } catch (cause) {
    if (cause instanceof BackendError) throw cause
    throw new BackendError('UNAVAILABLE', 'a key does not work', { cause })
  } finally {
    material.fill(0)
  }
}

const PLAINTEXT = Buffer.from('latchkey self-test')
const AAD = Buffer.from('aad')

async function compare(key: SoftwareKey, standard: CryptoKey): Promise<void> {
  const parameters = (iv: Buffer) => ({ name: 'AES-GCM', iv, additionalData: AAD, tagLength: 128 })
  const ours = key.seal({ plaintext: PLAINTEXT, aad: AAD })
  const opened = await subtle.decrypt(
    parameters(ours.iv),
    standard,
    Buffer.concat([ours.ciphertext, ours.tag]),
  )
  const iv = nextIv()
  const theirs = Buffer.from(await subtle.encrypt(parameters(iv), standard, PLAINTEXT))
  const ciphertext = theirs.subarray(0, -TAG_BYTES)
  const tag = theirs.subarray(-TAG_BYTES)
  const reopened = key.unseal({ iv, ciphertext, tag, aad: AAD })
  if (!equalBytes(Buffer.from(opened), PLAINTEXT) || !equalBytes(reopened, PLAINTEXT)) {
    throw new BackendError('UNAVAILABLE', 'a key failed its self-test')
  }
}
