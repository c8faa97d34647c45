/** Check values let two people compare a key without revealing it. */
// SPDX-License-Identifier: Apache-2.0
import { createCipheriv } from 'node:crypto'

const BLOCK = Buffer.alloc(16)
/** Length in bytes of a check value as HSMs print it. */
const CHECK_BYTES = 3

/**
 * Returns the key check value of an AES key as HSMs and key ceremonies use it: the first three
 * bytes of the encryption of a block of zeros, in hex. It identifies a key and reveals 24 bits of
 * information about it.
 */
export function toCheckValue(key: Buffer): string {
  const cipher = createCipheriv('aes-256-ecb', key, null)
  return cipher.update(BLOCK).subarray(0, CHECK_BYTES).toString('hex')
}
