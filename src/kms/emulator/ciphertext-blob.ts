/**
 * The CiphertextBlob of the KMS emulator. AWS does not publish KMS's own format. The emulator's
 * format holds what the specification requires: the backing key that made the blob, and every field
 * of the proxy's response.
 */
// SPDX-License-Identifier: Apache-2.0

export interface BlobHeader {
  /** UUID of the KMS key. */
  readonly keyId: string
  /**
   * Id of the KMS key material, 16 bytes. It makes two KMS keys that use the same external key
   * produce different blobs.
   */
  readonly backingKeyId: Buffer
}

/** The proxy's response to Encrypt, decoded. */
export interface SealedByProxy {
  readonly ciphertext: Buffer
  /** Up to 20 bytes. */
  readonly ciphertextMetadata: Buffer
  /** 12 or 16 bytes. */
  readonly initializationVector: Buffer
  /** 16 bytes. */
  readonly authenticationTag: Buffer
}

const FORMAT = 0x01
const UUID_BYTES = 16
const TAG_BYTES = 16
export const HEADER_BYTES = 1 + UUID_BYTES + UUID_BYTES

/**
 * Encodes the format, the KMS key and the backing key in 33 bytes, which both ciphers authenticate.
 */
export function encodeHeader({ keyId, backingKeyId }: BlobHeader): Buffer {
  return Buffer.concat([
    Buffer.of(FORMAT),
    Buffer.from(keyId.replaceAll('-', ''), 'hex'),
    backingKeyId,
  ])
}

export function encodeBlob(header: BlobHeader, sealed: SealedByProxy): Buffer {
  return Buffer.concat([
    encodeHeader(header),
    Buffer.of(sealed.ciphertextMetadata.length),
    sealed.ciphertextMetadata,
    Buffer.of(sealed.initializationVector.length),
    sealed.initializationVector,
    sealed.authenticationTag,
    sealed.ciphertext,
  ])
}

/** Parses a blob; returns undefined for anything that `encodeBlob` does not produce. */
export function parseBlob(
  blob: Buffer,
): { readonly header: BlobHeader; readonly sealed: SealedByProxy } | undefined {
  if (blob.length < HEADER_BYTES || blob[0] !== FORMAT) return undefined
  const id = blob.subarray(1, 1 + UUID_BYTES).toString('hex')
  const backingKeyId = blob.subarray(1 + UUID_BYTES, HEADER_BYTES)
  const metadata = takeWithLength(blob.subarray(HEADER_BYTES))
  const iv = metadata && takeWithLength(metadata.rest)
  if (metadata === undefined || iv === undefined || iv.rest.length <= TAG_BYTES) return undefined
  return {
    header: {
      keyId: id.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5'),
      backingKeyId,
    },
    sealed: {
      ciphertextMetadata: metadata.field,
      initializationVector: iv.field,
      authenticationTag: iv.rest.subarray(0, TAG_BYTES),
      ciphertext: iv.rest.subarray(TAG_BYTES),
    },
  }
}

function takeWithLength(
  bytes: Buffer,
): { readonly field: Buffer; readonly rest: Buffer } | undefined {
  const [length] = bytes
  if (length === undefined || bytes.length < 1 + length) return undefined
  return { field: bytes.subarray(1, 1 + length), rest: bytes.subarray(1 + length) }
}
