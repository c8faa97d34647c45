/** The response of servers that do no work: as many bytes as an Encrypt response has. */
// SPDX-License-Identifier: Apache-2.0

export const FIXED_BODY = JSON.stringify({
  ciphertext: 'A'.repeat(44),
  ciphertextMetadata: 'AQAAAAE=',
  initializationVector: 'A'.repeat(16),
  authenticationTag: 'A'.repeat(24),
  ciphertextDataIntegrityValue: 'A'.repeat(44),
})
