/** The encryption context as bytes: what KMS authenticates and does not store. */
// SPDX-License-Identifier: Apache-2.0

export type EncryptionContext = Readonly<Record<string, string>>

/**
 * Pairs in the order of their names, each name and value after its length in two bytes, so that the
 * order in which a caller wrote them does not matter and no two contexts have the same bytes. Empty:
 * no bytes.
 */
export function encodeEncryptionContext(context: EncryptionContext): Buffer {
  const pairs = Object.entries(context)
    .map(([name, value]) => [Buffer.from(name, 'utf8'), Buffer.from(value, 'utf8')] as const)
    .sort(([a], [b]) => Buffer.compare(a, b))
  return Buffer.concat(pairs.flat().map(withLength))
}

function withLength(bytes: Buffer): Buffer {
  const length = Buffer.alloc(2)
  length.writeUInt16BE(bytes.length)
  return Buffer.concat([length, bytes])
}
