/** What is in the SQLite file that no migration made: a trigger there runs inside our own transactions. */
// SPDX-License-Identifier: Apache-2.0
import { createRequire } from 'node:module'
import type Sqlite from 'better-sqlite3'
import { StorageError, type Reader, type Row } from '../database.ts'
import { MIGRATIONS } from '../migrations/migrations.ts'

const SCHEMA = 'SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name'
/** What ANALYZE leaves: read by the planner, and by nothing else. */
const STATISTICS = /^CREATE TABLE sqlite_stat[14]\([a-z,]+\)$/

const require = createRequire(import.meta.url)

/** The schema that the migrations make. It blocks for some milliseconds. */
export function makeSchema(): readonly Row[] {
  // Loaded here and not with this file, so that a missing add-on is reported by the thread that needs it first.
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
    // A later release has added to it while this process runs: nothing that acts may be among it.
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
      ? 'the file lacks a table or an index that Latchkey made'
      : `the file has a ${String(foreign['type'])} that Latchkey did not make: ${String(foreign['name'])}`,
    { hint: 'drop it if you know what it is for; Latchkey shares its file with nothing' },
  )
}

function toText({ type, name, tbl_name, sql }: Row): string {
  return JSON.stringify([type, name, tbl_name, sql])
}
