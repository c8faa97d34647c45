/** Unwraps the store keys in a backup. */
// SPDX-License-Identifier: Apache-2.0
import { checkHeader, linesOf, parseLines } from './backup-file.ts'
import { parseRekey, REKEY } from './keyring.ts'
import type { MasterKey } from './master-key.ts'
import { FACTS } from './sealed-tables.ts'

/**
 * Unwraps the keys of a backup before its transaction begins, because a token can take longer than
 * a database allows a transaction to stay idle. A key that cannot be unwrapped is reported only
 * after the backup has been found complete.
 */
export async function unwrapKeysOf(
  path: string,
  masterKey: MasterKey,
): Promise<Pick<MasterKey, 'unwrap'>> {
  const unwrapped = new Map<string, Promise<Buffer>>()
  for (const record of await findKeyRecords(path)) {
    const unwrapping = masterKey.unwrap(record)
    await unwrapping.catch(() => undefined)
    unwrapped.set(record, unwrapping)
  }
  return {
    unwrap(record) {
      const key = unwrapped.get(record) ?? masterKey.unwrap(record)
      // The caller overwrites the key, so it must not be returned again.
      unwrapped.delete(record)
      return key
    },
  }
}

/**
 * Returns the wrapped keys in a backup, without verifying them; empty if its `facts` table is
 * damaged.
 * @throws StorageError BACKUP_INVALID
 */
async function findKeyRecords(path: string): Promise<readonly string[]> {
  const records: unknown[] = []
  let isFirst = true
  for await (const line of linesOf(path)) {
    if (isFirst) checkHeader(path, line)
    else {
      const { table, columns, rows } = parseLines(path, line)
      // The `facts` table comes first in a backup, so the search can stop where it ends.
      if (table !== FACTS.name) break
      for (const row of rows) {
        const value = row[columns.indexOf('value')]
        const name = row[columns.indexOf('name')]
        if (name === 'master_key') records.push(value)
        else if (name === REKEY) records.push(parseRekey(String(value))?.other)
      }
    }
    isFirst = false
  }
  return records.filter((record) => typeof record === 'string')
}
