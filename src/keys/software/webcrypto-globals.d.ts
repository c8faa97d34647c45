/**
 * @peculiar/webcrypto's types name the browser's globals. Node declares the same types under
 * `node:crypto`; this file makes them global without pulling in the whole DOM.
 */
// SPDX-License-Identifier: Apache-2.0
import type { webcrypto } from 'node:crypto'

declare global {
  type KeyAlgorithm = webcrypto.KeyAlgorithm
  type KeyType = webcrypto.KeyType
  type KeyUsage = webcrypto.KeyUsage
  type CryptoKey = webcrypto.CryptoKey
  type SubtleCrypto = webcrypto.SubtleCrypto
  /** Node's own type has one more constructor property than the standard. */
  type Crypto = Omit<webcrypto.Crypto, 'CryptoKey'>
}
