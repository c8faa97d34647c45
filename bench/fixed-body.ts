/** The fixed response body of the baseline servers. It has the length of an Encrypt response. */
// SPDX-License-Identifier: Apache-2.0

export const FIXED_BODY = JSON.stringify({
  ciphertext: 'A'.repeat(44),
  ciphertextMetadata: 'AQAAAAE=',
  initializationVector: 'A'.repeat(16),
  authenticationTag: 'A'.repeat(24),
  ciphertextDataIntegrityValue: 'A'.repeat(44),
})
