/** What AWS's sample proxy (aws-kms-xks-proxy) authenticates instead of the specification's AAD. */
// SPDX-License-Identifier: Apache-2.0
import * as crypto from 'node:crypto'
import { encodeAad } from './wire-bytes.ts'

const LENGTH_BYTES = 2

/**
 * `len16(AAD) || SHA-256(AAD) || len8(metadata) || metadata`; the hash is there when the request had
 * an AAD. One that is empty may have been there or not, and nothing tells: both are returned then.
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
