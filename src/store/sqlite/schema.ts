/**
 * Finds objects in the SQLite file that no migration created, such as a trigger, which would run
 * inside Latchkey's own transactions.
 */
// SPDX-License-Identifier: Apache-2.0
import { createRequire } from 'node:module'
import type Sqlite from 'better-sqlite3'
import { StorageError, type Reader, type Row } from '../database.ts'
import { MIGRATIONS } from '../migrations/migrations.ts'

/** The application id "Lkey", which identifies the file as a Latchkey store. */
export const APPLICATION_ID = 0x4c6b6579

const SCHEMA = 'SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name'
/** Matches the tables that ANALYZE creates. Only the query planner reads them. */
const STATISTICS = /^CREATE TABLE sqlite_stat[14]\([a-z,]+\)$/

const require = createRequire(import.meta.url)

let made: readonly Row[] | undefined

/** Returns the schema that the migrations create. The first call blocks for a few milliseconds. */
export function makeSchema(): readonly Row[] {
  made ??= make()
  return made
}

function make(): readonly Row[] {
  // The add-on is imported lazily, so that the first thread that needs it reports that it is
  // missing.
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
    // A later release may change the schema while this process is running, but must not add objects
    // that run code.
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
    {
      hint: 'find out the purpose of this object, and drop the object if possible; Latchkey does not share its file with other programs',
    },
  )
}

function toText({ type, name, tbl_name, sql }: Row): string {
  return JSON.stringify([type, name, tbl_name, sql])
}
