/** The bytes on which ciphertexts depend: AAD framing, CDIV and ciphertext metadata. */
// SPDX-License-Identifier: Apache-2.0
import * as crypto from 'node:crypto'

/** Maximum value of a two-byte length field (XKS 1.0.3, Encrypt). */
export const MAX_AAD_BYTES = 65_535
export const MAX_METADATA_BYTES = 20

/**
 * Returns `len16(AAD) || AAD || len8(metadata) || metadata`, big-endian (XKS 1.0.3, Encrypt,
 * ciphertextMetadata). Without the lengths, metadata passed back as AAD would decrypt too.
 * @param aad 0 to 65,535 bytes
 * @param metadata 0 to 20 bytes
 * @throws RangeError for longer values, which `decode.ts` has already refused
 */
export function encodeAad(aad: Buffer, metadata: Buffer): Buffer {
  if (aad.length > MAX_AAD_BYTES)
    throw new RangeError(
      `expected AAD of at most ${String(MAX_AAD_BYTES)} bytes, found ${String(aad.length)}`,
    )
  if (metadata.length > MAX_METADATA_BYTES) {
    throw new RangeError(`expected at most 20 bytes of metadata, found ${String(metadata.length)}`)
  }
  const framed = Buffer.allocUnsafe(2 + aad.length + 1 + metadata.length)
  framed.writeUInt16BE(aad.length, 0)
  aad.copy(framed, 2)
  framed.writeUInt8(metadata.length, 2 + aad.length)
  metadata.copy(framed, 3 + aad.length)
  return framed
}

interface CdivInput {
  /** The AAD as in the request, without framing. */
  readonly aad: Buffer
  readonly metadata: Buffer
  readonly iv: Buffer
  readonly ciphertext: Buffer
  readonly tag: Buffer
}

/**
 * Returns the 32-byte SHA-256 of `AAD || metadata || IV || ciphertext || tag`, without lengths,
 * because KMS computes the same hash (XKS 1.0.3, Appendix C).
 */
export function computeCdiv(input: CdivInput): Buffer {
  const { aad, metadata, iv, ciphertext, tag } = input
  return crypto.hash('sha256', Buffer.concat([aad, metadata, iv, ciphertext, tag]), 'buffer')
}

/** Identifies the layout of the metadata and the AAD. A later layout gets the next number. */
const FORMAT = 0x01
const SIZE_BYTES = 5
const MAX_VERSION = 0xffff_ffff

/** Version that encrypted every ciphertext without metadata (see `decrypt.ts`). */
export const FIRST_VERSION = 1

/**
 * Returns 5 bytes: the format, then the key version, big-endian.
 * @throws RangeError when `version` is not an integer from 1 to 2^32 - 1
 */
export function encodeCiphertextMetadata(version: number): Buffer {
  if (!Number.isInteger(version) || version < 1 || version > MAX_VERSION) {
    throw new RangeError(`expected a key version from 1 to 2^32 - 1, found ${String(version)}`)
  }
  const bytes = Buffer.allocUnsafe(SIZE_BYTES)
  bytes.writeUInt8(FORMAT, 0)
  bytes.writeUInt32BE(version, 1)
  return bytes
}

/** Returns the key version, or undefined if the bytes are not Latchkey's. */
export function parseCiphertextMetadata(bytes: Buffer): number | undefined {
  if (bytes.length !== SIZE_BYTES || bytes[0] !== FORMAT) return undefined
  const version = bytes.readUInt32BE(1)
  return version === 0 ? undefined : version
}

const LENGTH_BYTES = 2

/**
 * Returns `len16(AAD) || SHA-256(AAD) || len8(metadata) || metadata`, the framing of AWS's sample
 * proxy. It includes the hash only if the request had an AAD. An empty AAD cannot be distinguished
 * from an absent one, so both forms are returned.
 */
export function encodeSampleAads(aad: Buffer, metadata: Buffer): readonly Buffer[] {
  const plain = encodeAad(aad, metadata)
  const hashed = Buffer.concat([
    plain.subarray(0, LENGTH_BYTES),
    crypto.hash('sha256', aad, 'buffer'),
    plain.subarray(LENGTH_BYTES + aad.length),
  ])
  return aad.length === 0 ? [plain, hashed] : [hashed]
}
