/** Our ciphertextMetadata: which version of the key made a ciphertext. */
// SPDX-License-Identifier: Apache-2.0

/** Names the layout of the metadata and of the AAD; a later layout gets the next number. */
const FORMAT = 0x01
const SIZE_BYTES = 5
const MAX_VERSION = 0xffff_ffff

/** Ciphertext that came without metadata is taken for the first version's (see `decrypt.ts`). */
export const FIRST_VERSION = 1

/**
 * 5 bytes: format, then the key version, big-endian.
 * @throws RangeError when `version` is not an integer from 1 to 2^32 - 1
 */
export function encodeCiphertextMetadata(version: number): Buffer {
  if (!Number.isInteger(version) || version < 1 || version > MAX_VERSION) {
    throw new RangeError('a key version is an integer from 1 to 2^32 - 1')
  }
  const bytes = Buffer.allocUnsafe(SIZE_BYTES)
  bytes.writeUInt8(FORMAT, 0)
  bytes.writeUInt32BE(version, 1)
  return bytes
}

/** The key version, or undefined when the bytes are not ours. */
export function parseCiphertextMetadata(bytes: Buffer): number | undefined {
  if (bytes.length !== SIZE_BYTES || bytes[0] !== FORMAT) return undefined
  const version = bytes.readUInt32BE(1)
  return version === 0 ? undefined : version
}
