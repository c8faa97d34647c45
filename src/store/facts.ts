/**
 * Reads and writes raw rows of the `facts` table, which holds the store's named records.
 * sealed-rows.ts documents which of them are sealed.
 */
// SPDX-License-Identifier: Apache-2.0
import { StorageError, type Reader, type Transaction } from './database.ts'

/** @throws StorageError STORE_CORRUPT if the fact does not exist */
export async function readFact(reader: Reader, name: string): Promise<string> {
  const value = await findFact(reader, name)
  if (value === undefined) {
    throw new StorageError(
      'STORE_CORRUPT',
      `the store lacks the required fact "${name}": the database was damaged or changed`,
    )
  }
  return value
}

export async function findFact(reader: Reader, name: string): Promise<string | undefined> {
  const rows = await reader.query('SELECT value FROM facts WHERE name = ?', [name])
  const value = rows[0]?.['value']
  return typeof value === 'string' ? value : undefined
}

/** Writes facts with one statement. */
export async function writeFacts(
  transaction: Transaction,
  facts: Readonly<Record<string, string>>,
): Promise<void> {
  const entries = Object.entries(facts)
  await transaction.execute(
    `INSERT INTO facts (name, value) VALUES ${entries.map(() => '(?, ?)').join(', ')}
     ON CONFLICT (name) DO UPDATE SET value = excluded.value`,
    entries.flat(),
  )
}
