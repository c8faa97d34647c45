/** The keys and credentials of a store, for the servers that load them. */
// SPDX-License-Identifier: Apache-2.0
import type { Reader, Row } from './database.ts'
import { loadTables } from './sealed-rows.ts'
import { readState } from './sealed-state.ts'
import { CREDENTIALS, KEYS, KEY_VERSIONS } from './sealed-tables.ts'
import type { Sealing } from './sealing.ts'

/** Keys and credentials, read from one snapshot and verified. */
export interface StoreContents {
  readonly epoch: number
  readonly keys: readonly Row[]
  readonly versions: readonly Row[]
  readonly credentials: readonly Row[]
}

/** @throws StorageError STORE_TAMPERED if a key or credential was not last written by Latchkey */
export async function loadContents(reader: Reader, sealing: Sealing): Promise<StoreContents> {
  const { epoch } = await readState(reader, sealing)
  const tables = await loadTables(reader, sealing, [KEYS, KEY_VERSIONS, CREDENTIALS])
  const [keys = [], versions = [], credentials = []] = tables
  return { epoch, keys, versions, credentials }
}
