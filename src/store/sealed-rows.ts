/**
 * Reads and verifies rows that carry a MAC, either one at a time or as complete tables against the
 * sealed state.
 */
// SPDX-License-Identifier: Apache-2.0
import { turn } from '../core/slices.ts'
import {
  type ExpectedQuery,
  StorageError,
  type Reader,
  type Row,
  type SqlValue,
} from './database.ts'
import { addElement, NO_ROWS, readState, type SealedState, type TableSum } from './sealed-state.ts'
import { FACTS, SEALED_TABLES, type SealedTable } from './sealed-tables.ts'
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

/** The columns in MAC order, without `mac` itself. */
export function sealedColumns(table: SealedTable): readonly string[] {
  return [...table.key, ...table.columns, 'changed_epoch']
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
  if (code === undefined) {
    throw new StorageError(
      'STORE_TAMPERED',
      `a row was changed outside of Latchkey: ${describeRow(table, row)}`,
    )
  }
  return code
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

/** Number of rows verified in one event-loop turn, which takes well under two milliseconds. */
const PAGE = 100

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
      rows.push(...page)
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
  pageRows = PAGE,
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
  { state, pageRows = PAGE, take }: Scan,
): Promise<void> {
  let found: TableSum = NO_ROWS
  await readPages(reader, table, { pageRows }, (page) => {
    for (const row of page) found = addElement(found, verifyRow(sealing, table, row).element)
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

interface Pages {
  /** If set, only rows written after this epoch are read. */
  readonly since?: number | undefined
  readonly pageRows?: number
}

/**
 * Passes a table's rows to `take` in primary key order, at most `pageRows` at a time, each page in
 * its own event-loop turn. The next page is read while `take` processes the current one.
 */
export async function readPages(
  reader: Reader,
  table: SealedTable,
  { since, pageRows = PAGE }: Pages,
  take: (page: readonly Row[]) => void,
): Promise<void> {
  const count = Math.max(pageRows, reader.pageRows ?? 0)
  const query = (last?: Row) => queryPage(reader, table, last, { since, pageRows: count })
  let reading: Promise<readonly Row[]> | undefined = query()
  while (reading !== undefined) {
    const rows: readonly Row[] = await reading
    reading = rows.length === count ? query(rows.at(-1)) : undefined
    reading?.catch(() => undefined)
    try {
      for (let at = 0; at < rows.length; at += pageRows) {
        // Without this pause, replies from the SQLite thread that have already arrived would be
        // delivered in the same event-loop turn.
        await turn()
        take(rows.slice(at, at + pageRows))
      }
    } catch (error) {
      // Statements within a snapshot must not overlap, and ending the snapshot is itself a
      // statement.
      await reading?.catch(() => undefined)
      throw error
    }
  }
}

/** Returns the rows after `last`. */
export function queryPage(
  reader: Reader,
  table: SealedTable,
  last: Row | undefined,
  { since, pageRows = PAGE }: Pages = {},
): Promise<readonly Row[]> {
  const after = last === undefined ? [] : table.key.map((name) => column(last, name))
  return reader.query(toPageSql(table, { since, pageRows }, after.length > 0), [
    ...(since === undefined ? [] : [since]),
    ...after,
  ])
}

/**
 * Returns the query for the first page of a table, for a snapshot that will probably read it.
 * @param since if set, only the rows written after this epoch
 */
export function expectPage(table: SealedTable, since?: number): ExpectedQuery {
  const sql = toPageSql(table, { since, pageRows: PAGE }, false)
  return { sql, parameters: since === undefined ? [] : [since] }
}

function toPageSql(
  table: SealedTable,
  { since, pageRows }: Required<Pages>,
  isAfter: boolean,
): string {
  const key = table.key.join(', ')
  const conditions = [
    ...(table.except === undefined ? [] : [table.except]),
    ...(since === undefined ? [] : ['changed_epoch > ?']),
    ...(isAfter ? [`(${key}) > (${table.key.map(() => '?').join(', ')})`] : []),
  ]
  return `SELECT ${[...sealedColumns(table), 'mac'].join(', ')} FROM ${table.name}
     ${conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`}
     ORDER BY ${key} LIMIT ${String(pageRows)}`
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
