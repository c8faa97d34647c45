/**
 * Reads and verifies rows that carry a MAC, either one at a time or as complete tables against the
 * sealed state.
 */
// SPDX-License-Identifier: Apache-2.0
import { StorageError, type Reader, type Row, type SqlValue } from './database.ts'
import { encodeRows } from './encoding.ts'
import type { VerifiedRows } from './row-codes/row-codes.ts'
import { readPages, TURN_ROWS } from './row-pages.ts'
import { addRows, NO_ROWS, readState, type SealedState, type TableSum } from './sealed-state.ts'
import { FACTS, SEALED_TABLES, sealedColumns, type SealedTable } from './sealed-tables.ts'
import type { RowCode, Sealing } from './sealing.ts'

/**
 * Returns the value of a column. A column is missing only if the schema is from another release.
 */
export function column(row: Row, name: string): SqlValue {
  const value = row[name]
  if (value !== undefined) return value
  const found = Object.keys(row).join(', ')
  throw new StorageError('STORE_CORRUPT', `expected the column ${name} in a row, found ${found}`, {
    hint: 'use the Latchkey release that last upgraded the store',
  })
}

export function codeOf(sealing: Sealing, table: SealedTable, row: Row): RowCode {
  return sealing.code(fieldsOf(table, row))
}

function fieldsOf(table: SealedTable, row: Row): readonly SqlValue[] {
  return [table.name, ...sealedColumns(table).map((name) => column(row, name))]
}

export function describeRow(table: SealedTable, row: Row): string {
  return `${table.name} ${table.key.map((name) => String(column(row, name))).join(' ')}`
}

/** @throws StorageError STORE_TAMPERED */
export function verifyRow(sealing: Sealing, table: SealedTable, row: Row): RowCode {
  const code = sealing.codeWith(fieldsOf(table, row), column(row, 'mac'))
  if (code === undefined) throw notGenuine(table, row)
  return code
}

/**
 * Verifies each row like verifyRow, with one call for all of them.
 * @throws StorageError STORE_TAMPERED
 */
export function verifyRows(
  sealing: Sealing,
  table: SealedTable,
  rows: readonly Row[],
): VerifiedRows {
  const encoded = encodeRows(table.name, sealedColumns(table), rows)
  const verified = encoded === undefined ? 0 : sealing.verifyRows(encoded)
  if (typeof verified !== 'number') return verified
  const [first] = rows.slice(verified)
  if (first === undefined) throw new TypeError('the number of verified rows is wrong')
  // Reports a missing column, if that is the reason.
  verifyRow(sealing, table, first)
  throw notGenuine(table, first)
}

function notGenuine(table: SealedTable, row: Row): StorageError {
  return new StorageError(
    'STORE_TAMPERED',
    `a row was changed outside of Latchkey: ${describeRow(table, row)}`,
  )
}

/** Reports whether this key produced the row's MAC. */
export function isSealedBy(sealing: Sealing, table: SealedTable, row: Row): boolean {
  return sealing.codeWith(fieldsOf(table, row), column(row, 'mac')) !== undefined
}

/**
 * Verifies each row on its own. Missing or outdated rows are not detected.
 * @throws StorageError STORE_TAMPERED
 */
export async function selectRows(
  reader: Reader,
  sealing: Sealing,
  table: SealedTable,
  where: Row = {},
): Promise<readonly Row[]> {
  const rows = await queryRows(reader, table, where)
  for (const row of rows) verifyRow(sealing, table, row)
  return rows
}

async function queryRows(reader: Reader, table: SealedTable, where: Row): Promise<readonly Row[]> {
  const conditions = [
    ...(table.except === undefined ? [] : [table.except]),
    ...Object.keys(where).map((name) => `${name} = ?`),
  ]
  return reader.query(
    `SELECT ${[...sealedColumns(table), 'mac'].join(', ')} FROM ${table.name}
     ${conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`}
     ORDER BY ${table.key.join(', ')}`,
    Object.values(where),
  )
}

/**
 * Returns a table's rows after verifying them against the state, which detects rows that were
 * changed, removed, added or rolled back. Reads page by page.
 * @throws StorageError STORE_TAMPERED
 */
export async function loadTable(
  reader: Reader,
  sealing: Sealing,
  table: SealedTable,
  state: Pick<SealedState, 'tables'>,
): Promise<readonly Row[]> {
  const rows: Row[] = []
  await scanTable(reader, sealing, table, {
    state,
    take: (page) => {
      for (const row of page) rows.push(row)
    },
  })
  return rows
}

/**
 * Verifies a table like loadTable, but keeps no rows.
 * @throws StorageError STORE_TAMPERED
 */
export async function verifyTable(
  reader: Reader,
  sealing: Sealing,
  table: SealedTable,
  state: Pick<SealedState, 'tables'>,
  pageRows = TURN_ROWS,
): Promise<void> {
  await scanTable(reader, sealing, table, { state, pageRows })
}

interface Scan {
  readonly state: Pick<SealedState, 'tables'>
  readonly pageRows?: number
  readonly take?: (page: readonly Row[]) => void
}

async function scanTable(
  reader: Reader,
  sealing: Sealing,
  table: SealedTable,
  { state, pageRows = TURN_ROWS, take }: Scan,
): Promise<void> {
  let found: TableSum = NO_ROWS
  await readPages(reader, table, { pageRows }, (page) => {
    found = addRows(found, page.length, verifyRows(sealing, table, page).sum)
    take?.(page)
  })
  const expected = state.tables.get(table.name) ?? NO_ROWS
  if (found.rows !== expected.rows || found.sum !== expected.sum) throw notWhole(table)
}

export function notWhole(table: SealedTable): StorageError {
  return new StorageError(
    'STORE_TAMPERED',
    `rows were added, removed or restored outside of Latchkey: ${table.name}`,
  )
}

/**
 * Returns complete tables from one snapshot.
 * @throws StorageError STORE_TAMPERED
 */
export async function loadTables(
  reader: Reader,
  sealing: Sealing,
  tables: readonly SealedTable[],
): Promise<readonly (readonly Row[])[]> {
  const state = await readState(reader, sealing)
  const loaded: (readonly Row[])[] = []
  for (const table of tables) loaded.push(await loadTable(reader, sealing, table, state))
  return loaded
}

/**
 * Takes the rows of a table page by page. The caller may use them only once all pages have been
 * taken.
 */
export interface TableScan {
  readonly table: SealedTable
  readonly take: (page: readonly Row[]) => void
}

/**
 * Reads complete tables as of a single moment, and keeps no rows.
 * @throws StorageError STORE_TAMPERED
 */
export async function scanTables(
  reader: Reader,
  sealing: Sealing,
  scans: readonly TableScan[],
): Promise<void> {
  const state = await readState(reader, sealing)
  for (const { table, take } of scans) await scanTable(reader, sealing, table, { state, take })
}

/**
 * Returns the current value of a sealed record in the `facts` table.
 * @throws StorageError STORE_TAMPERED
 */
export async function findSealedFact(
  reader: Reader,
  sealing: Sealing,
  name: string,
): Promise<string | undefined> {
  const rows = await loadTable(reader, sealing, FACTS, await readState(reader, sealing))
  const found = rows.find((row) => row['name'] === name)
  return found === undefined ? undefined : String(column(found, 'value'))
}

/**
 * Verifies all sealed data.
 * @throws StorageError STORE_TAMPERED
 */
export async function verifyAll(reader: Reader, sealing: Sealing): Promise<void> {
  const state = await readState(reader, sealing)
  for (const table of SEALED_TABLES) await verifyTable(reader, sealing, table, state)
}
