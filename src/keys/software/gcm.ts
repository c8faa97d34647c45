/** AES-256-GCM with keys that cannot be extracted. */
// SPDX-License-Identifier: Apache-2.0
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject } from 'node:crypto'
import { equalBytes } from '../../core/constant-time.ts'
import { BackendError } from '../errors.ts'
import { drawIv } from '../../core/kernel-random.ts'
import type { DecryptRequest, EncryptRequest, SealedBytes } from '../key-backend.ts'

const CIPHER = 'aes-256-gcm'
const KEY_BYTES = 32
const TAG_BYTES = 16
const OPTIONS = { authTagLength: TAG_BYTES }
/** Seals and unseals on the calling thread. Only this class has access to the key itself. */
export class SoftwareKey {
  readonly #key: KeyObject

  /** @param key 32 bytes */
  constructor(key: KeyObject) {
    this.#key = key
  }

  /** Each call uses a fresh random IV (NIST SP 800-38D, 8.2.2; 8.3 limits the number of calls). */
  seal({ plaintext, aad }: Pick<EncryptRequest, 'plaintext' | 'aad'>): SealedBytes {
    const iv = drawIv()
    const cipher = createCipheriv(CIPHER, this.#key, iv, OPTIONS)
    cipher.setAAD(aad)
    // GCM is a stream cipher: `update` returns all bytes, and `final` only computes the tag.
    const ciphertext = cipher.update(plaintext)
    cipher.final()
    return { iv, ciphertext, tag: cipher.getAuthTag() }
  }

  /** @throws BackendError INTEGRITY_FAILURE, identical for every cause */
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
      // OpenSSL's error message must not reach the caller.
      throw new BackendError('INTEGRITY_FAILURE', 'the ciphertext failed authentication')
    }
  }
}

let webCrypto: Promise<SubtleCrypto> | undefined

/** Loads the other implementation with the first key, because its modules would slow the start of every command. */
function loadWebCrypto(): Promise<SubtleCrypto> {
  webCrypto ??= import('@peculiar/webcrypto').then(
    ({ Crypto }) => new Crypto().subtle,
    (error: unknown) => {
      // The next key tries again: the process may only have been out of file descriptors.
      webCrypto = undefined
      throw error
    },
  )
  return webCrypto
}

/**
 * Imports a key after testing it against another implementation: SoftwareKey and WebCrypto must
 * each open what the other seals.
 * @param material 32 bytes; wiped before the promise settles
 * @throws BackendError UNAVAILABLE for a key that fails the test
 */
export async function importKey(material: Buffer): Promise<SoftwareKey> {
  try {
    if (material.length !== KEY_BYTES)
      throw new TypeError(`expected a key of 32 bytes, found ${String(material.length)}`)
    const subtle = await loadWebCrypto()
    const standard = await subtle.importKey('raw', material, 'AES-GCM', false, [
      'encrypt',
      'decrypt',
    ])
    const key = new SoftwareKey(createSecretKey(material))
    await compare(key, subtle, standard)
    return key
  } catch (cause) {
    if (cause instanceof BackendError) throw cause
    throw new BackendError('UNAVAILABLE', 'the key material cannot be used', { cause })
  } finally {
    material.fill(0)
  }
}

const PLAINTEXT = Buffer.from('latchkey self-test')
const AAD = Buffer.from('aad')

async function compare(key: SoftwareKey, subtle: SubtleCrypto, standard: CryptoKey): Promise<void> {
  const parameters = (iv: Buffer) => ({ name: 'AES-GCM', iv, additionalData: AAD, tagLength: 128 })
  const ours = key.seal({ plaintext: PLAINTEXT, aad: AAD })
  const opened = await subtle.decrypt(
    parameters(ours.iv),
    standard,
    Buffer.concat([ours.ciphertext, ours.tag]),
  )
  const iv = drawIv()
  const theirs = Buffer.from(await subtle.encrypt(parameters(iv), standard, PLAINTEXT))
  const ciphertext = theirs.subarray(0, -TAG_BYTES)
  const tag = theirs.subarray(-TAG_BYTES)
  const reopened = key.unseal({ iv, ciphertext, tag, aad: AAD })
  if (!equalBytes(Buffer.from(opened), PLAINTEXT) || !equalBytes(reopened, PLAINTEXT)) {
    throw new BackendError('UNAVAILABLE', 'a key failed its self-test')
  }
}
