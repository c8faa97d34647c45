/** The Ciphertext Data Integrity Value. */
// SPDX-License-Identifier: Apache-2.0
import * as crypto from 'node:crypto'

export interface CdivInput {
  /** As in the request: without the framing that the key sees. */
  readonly aad: Buffer
  readonly metadata: Buffer
  readonly iv: Buffer
  readonly ciphertext: Buffer
  readonly tag: Buffer
}

/**
 * XKS 1.0.3, Appendix C: 32 bytes of SHA-256 over `AAD || metadata || IV || ciphertext || tag`,
 * without lengths, because KMS computes the same.
 */
export function computeCdiv(input: CdivInput): Buffer {
  const { aad, metadata, iv, ciphertext, tag } = input
  return crypto.hash('sha256', Buffer.concat([aad, metadata, iv, ciphertext, tag]), 'buffer')
}
