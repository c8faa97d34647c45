/**
 * Finds objects in the SQLite file that no migration created: a trigger there would run inside
 * Latchkey's own transactions.
 */
// SPDX-License-Identifier: Apache-2.0
import { createRequire } from 'node:module'
import type Sqlite from 'better-sqlite3'
import { StorageError, type Reader, type Row } from '../database.ts'
import { MIGRATIONS } from '../migrations/migrations.ts'

/** "Lkey": marks the file as a Latchkey store. */
export const APPLICATION_ID = 0x4c6b6579

const SCHEMA = 'SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name'
/** Tables that ANALYZE leaves behind; only the query planner reads them. */
const STATISTICS = /^CREATE TABLE sqlite_stat[14]\([a-z,]+\)$/

const require = createRequire(import.meta.url)

/** Returns the schema that the migrations create. Blocks for a few milliseconds. */
export function makeSchema(): readonly Row[] {
  // Imported here and not at the top of the file, so that the thread that first needs the add-on
  // reports that it is missing.
  const Engine = require('better-sqlite3') as typeof Sqlite
  const database = new Engine(':memory:')
  try {
    for (const sql of MIGRATIONS.flat()) database.exec(sql)
    return database.prepare(SCHEMA).all() as Row[]
  } finally {
    database.close()
  }
}

/** @throws StorageError STORE_TAMPERED */
export async function checkSqliteSchema(reader: Reader, expected: readonly Row[]): Promise<void> {
  const rows = await reader.query(SCHEMA)
  const [pragma] = await reader.query('PRAGMA user_version')
  if (Number(pragma?.['user_version']) > MIGRATIONS.length) {
    // A later release has changed the schema while this process runs, but must not have added
    // active objects.
    const active = rows.find(({ type }) => type === 'trigger')
    if (active === undefined) return
    throw new StorageError('STORE_TAMPERED', `the file has a trigger: ${String(active['name'])}`)
  }
  const found = rows.filter(
    ({ type, sql }) => !(type === 'table' && typeof sql === 'string' && STATISTICS.test(sql)),
  )
  const known = new Set(expected.map(toText))
  const foreign = found.find((row) => !known.has(toText(row)))
  if (foreign === undefined && found.length === expected.length) return
  throw new StorageError(
    'STORE_TAMPERED',
    foreign === undefined
      ? 'the file lacks a table or an index that Latchkey created'
      : `the file has a ${String(foreign['type'])} that Latchkey did not create: ${String(foreign['name'])}`,
    { hint: 'drop it if you know its purpose; Latchkey does not share its file' },
  )
}

function toText({ type, name, tbl_name, sql }: Row): string {
  return JSON.stringify([type, name, tbl_name, sql])
}
