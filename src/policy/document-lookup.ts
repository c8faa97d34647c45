/** Finds one policy document in the store, for readers that need it often and none of the others. */
// SPDX-License-Identifier: Apache-2.0
import type { Row } from '../store/database.ts'
import { column, scanTables } from '../store/sealed-rows.ts'
import { NO_ROWS, readState, type TableSum } from '../store/sealed-state.ts'
import { POLICIES } from '../store/sealed-tables.ts'
import type { Store } from '../store/store.ts'

/**
 * Returns a function that returns the text of one document in force, or undefined if there is none.
 * It reads and verifies the whole table, but again only once the sealed sum of the table differs:
 * with the same sum, every row is the same.
 * @throws StorageError STORE_TAMPERED
 */
export function createDocumentLookup(
  name: string,
): (store: Pick<Store, 'snapshot' | 'sealing'>) => Promise<string | undefined> {
  let latest: { readonly table: TableSum; readonly text: string | undefined } | undefined
  return ({ snapshot, sealing }) =>
    snapshot(async (reader) => {
      const table = (await readState(reader, sealing)).tables.get(POLICIES.name) ?? NO_ROWS
      if (latest?.table.rows === table.rows && latest.table.sum === table.sum) return latest.text
      let text: string | undefined
      const take = (rows: readonly Row[]) => {
        for (const row of rows) {
          if (row['name'] !== name || row['mode'] !== 'enforce') continue
          const document = column(row, 'document')
          text = document === null ? undefined : String(document)
        }
      }
      await scanTables(reader, sealing, [{ table: POLICIES, take }])
      latest = { table, text }
      return text
    })
}
