/** The AAD that the key sees: lengths, then what the caller and the proxy each bind. */
// SPDX-License-Identifier: Apache-2.0

/** What two bytes of length can count (XKS 1.0.3, Encrypt). */
export const MAX_AAD_BYTES = 65_535
export const MAX_METADATA_BYTES = 20

/**
 * XKS 1.0.3, Encrypt, ciphertextMetadata: `len16(AAD) || AAD || len8(metadata) || metadata`,
 * big-endian. Without the lengths, metadata passed back as AAD would decrypt too.
 * @param aad 0 to 65,535 bytes
 * @param metadata 0 to 20 bytes
 * @throws RangeError for longer ones, which `decode.ts` has refused before
 */
export function encodeAad(aad: Buffer, metadata: Buffer): Buffer {
  if (aad.length > MAX_AAD_BYTES) throw new RangeError('AAD is longer than 65,535 bytes')
  if (metadata.length > MAX_METADATA_BYTES) throw new RangeError('metadata is longer than 20 bytes')
  const framed = Buffer.allocUnsafe(2 + aad.length + 1 + metadata.length)
  framed.writeUInt16BE(aad.length, 0)
  aad.copy(framed, 2)
  framed.writeUInt8(metadata.length, 2 + aad.length)
  metadata.copy(framed, 3 + aad.length)
  return framed
}
