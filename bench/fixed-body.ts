/** What servers answer that do no work: bytes of an Encrypt answer's length. */
// SPDX-License-Identifier: Apache-2.0

export const FIXED_BODY = JSON.stringify({
  ciphertext: 'A'.repeat(44),
  ciphertextMetadata: 'AQAAAAE=',
  initializationVector: 'A'.repeat(16),
  authenticationTag: 'A'.repeat(24),
  ciphertextDataIntegrityValue: 'A'.repeat(44),
})
