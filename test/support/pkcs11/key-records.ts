/** Key records for a backend without a store: every key is enabled, and every version is trusted. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyStoreRecords } from '../../../src/keys/pkcs11/key-records.ts'

export const NO_RECORDS: KeyStoreRecords = {
  status: () => 'ENABLED',
  see: () => undefined,
  check: () => undefined,
  checkNewest: () => undefined,
  uses: () => undefined,
  versions: () => [],
  isAsRecorded: () => true,
  onChange: () => undefined,
}
