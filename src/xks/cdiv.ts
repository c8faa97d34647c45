/** The Ciphertext Data Integrity Value. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'

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
  return createHash('sha256')
    .update(input.aad)
    .update(input.metadata)
    .update(input.iv)
    .update(input.ciphertext)
    .update(input.tag)
    .digest()
}
