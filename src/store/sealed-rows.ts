/**
 * Reads and verifies rows that carry a code, one at a time or as complete tables against the sealed
 * state.
 */
// SPDX-License-Identifier: Apache-2.0
import { StorageError, type Reader, type Row, type SqlValue } from './database.ts'
import { addElement, NO_ROWS, readState, type SealedState, type TableSum } from './sealed-state.ts'
import type { RowCode, Sealing } from './sealing.ts'

export interface SealedTable {
  readonly name: string
  /** Columns of the primary key. */
  readonly key: readonly string[]
  /** All other columns except `changed_epoch` and `mac`. */
  readonly columns: readonly string[]
  /** Excludes rows of the same table that are sealed differently. */
  readonly except?: string
  /** Deleted rows leave no record, since no server follows the changes of this table row by row. */
  readonly leavesNoRecord?: true
}

/** All facts except those that seal the others. */
export const FACTS: SealedTable = {
  name: 'facts',
  key: ['name'],
  columns: ['value'],
  except: "name NOT IN ('epoch', 'state')",
}

/** Fact: when `store backup` last succeeded, and the epoch of that backup. */
export const LAST_BACKUP = 'last_backup'

export const KEYS: SealedTable = {
  name: 'external_keys',
  key: ['key_store', 'key_id'],
  columns: ['status', 'can_encrypt', 'can_decrypt', 'current_version', 'created_at'],
}

export const KEY_VERSIONS: SealedTable = {
  name: 'key_versions',
  key: ['key_store', 'key_id', 'version'],
  columns: ['created_at', 'destroyed_at', 'reserved_uses', 'material'],
}

/** Check values that identify key versions on tokens. */
export const TOKEN_KEYS: SealedTable = {
  name: 'token_keys',
  key: ['key_store', 'key_id', 'version'],
  columns: ['check_value', 'seen_at', 'reason', 'operator'],
}

export const CREDENTIALS: SealedTable = {
  name: 'credentials',
  key: ['access_key_id'],
  columns: ['key_store', 'secret', 'created_at', 'expires_at', 'revoked_at'],
}

export const SWITCHES: SealedTable = {
  name: 'switches',
  key: ['id'],
  columns: [
    ...['scope', 'key_store', 'key_id', 'criteria', 'direction'],
    ...['reason', 'operator', 'created_at', 'epoch', 'until_at'],
  ],
}

export const DEAD_MAN_SWITCHES: SealedTable = {
  name: 'dead_man_switches',
  key: ['key_store'],
  columns: ['ttl_ms', 'renewed_at', 'open_until', 'reason', 'operator'],
}

export const RESTORATIONS: SealedTable = {
  name: 'restorations',
  key: ['id'],
  columns: [
    ...['target', 'reason', 'operator', 'identity', 'requested_at', 'ready_at', 'expires_at'],
    ...['epoch', 'approved_by', 'approved_identity', 'approved_epoch'],
  ],
}

/** Policy documents, one row per revision that touches them. Rows are only added. */
export const POLICIES: SealedTable = {
  name: 'policies',
  key: ['revision', 'name'],
  columns: ['mode', 'document', 'action', 'reason', 'operator', 'created_at'],
}

/** Restore requests of schema versions before 6. No rows are added. */
export const RESTORE_REQUESTS: SealedTable = {
  name: 'restore_requests',
  key: ['id'],
  columns: ['switch_ids', 'reason', 'operator', 'requested_at', 'ready_at', 'approved_by'],
}

/** Records a deleted row by its table and the JSON of its primary key, so that servers notice the deletion. */
export const REMOVED_ROWS: SealedTable = {
  name: 'removed_rows',
  key: ['table_name', 'row_key'],
  columns: [],
}

/** Serving processes, from before their first lease until their gate is closed permanently. */
export const REGISTRATIONS: SealedTable = {
  name: 'registrations',
  key: ['id'],
  columns: ['grp', 'host', 'pid', 'worker', 'version', 'lease_ms', 'started_at', 'dismissed'],
  leavesNoRecord: true,
}

export const SEALED_TABLES: readonly SealedTable[] = [
  ...[FACTS, KEYS, KEY_VERSIONS, CREDENTIALS, SWITCHES, DEAD_MAN_SWITCHES, RESTORE_REQUESTS],
  ...[RESTORATIONS, REMOVED_ROWS, REGISTRATIONS, POLICIES, TOKEN_KEYS],
]

/** Keys and credentials, verified as of one moment. */
export interface StoreContents {
  readonly epoch: number
  readonly keys: readonly Row[]
  readonly versions: readonly Row[]
  readonly credentials: readonly Row[]
}

/** Returns the value of a column; if it is absent, the schema is not that of this release. */
export function column(row: Row, name: string): SqlValue {
  const value = row[name]
  if (value === undefined) throw new StorageError('STORE_CORRUPT', `a row lacks its column ${name}`)
  return value
}

/** The columns in the order in which the code covers them; `mac` comes after them. */
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
      `changed outside of Latchkey: ${describeRow(table, row)}`,
    )
  }
  return code
}

/** Reports whether the code of a row was made with this key. */
export function isSealedBy(sealing: Sealing, table: SealedTable, row: Row): boolean {
  return sealing.codeWith(fieldsOf(table, row), column(row, 'mac')) !== undefined
}

/** Verifies each row separately, so a missing or older row goes unnoticed here. @throws StorageError STORE_TAMPERED */
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

/** Number of rows verified in one turn of the event loop: well under two milliseconds. */
export const PAGE = 100

/**
 * Returns all rows of a table, verified against the state: none was changed, removed, added or
 * restored. Reads page by page.
 * @throws StorageError STORE_TAMPERED
 */
export async function loadTable(
  reader: Reader,
  sealing: Sealing,
  table: SealedTable,
  state: Pick<SealedState, 'tables'>,
): Promise<readonly Row[]> {
  const rows: Row[] = []
  let found: TableSum = NO_ROWS
  let page: readonly Row[]
  do {
    page = await queryPage(reader, table, rows.at(-1))
    for (const row of page) {
      found = addElement(found, verifyRow(sealing, table, row).element)
      rows.push(row)
    }
  } while (page.length === PAGE)
  const expected = state.tables.get(table.name) ?? NO_ROWS
  if (found.rows === expected.rows && found.sum === expected.sum) return rows
  throw notWhole(table)
}

export function notWhole(table: SealedTable): StorageError {
  return new StorageError(
    'STORE_TAMPERED',
    `rows were added, removed or restored outside of Latchkey: ${table.name}`,
  )
}

/**
 * Returns the rows after `last` in the order of the primary key.
 * @param since only rows that were written after this epoch
 */
export function queryPage(
  reader: Reader,
  table: SealedTable,
  last: Row | undefined,
  since?: number,
): Promise<readonly Row[]> {
  const key = table.key.join(', ')
  const conditions = [
    ...(table.except === undefined ? [] : [table.except]),
    ...(since === undefined ? [] : ['changed_epoch > ?']),
    ...(last === undefined ? [] : [`(${key}) > (${table.key.map(() => '?').join(', ')})`]),
  ]
  const after = last === undefined ? [] : table.key.map((name) => column(last, name))
  return reader.query(
    `SELECT ${[...sealedColumns(table), 'mac'].join(', ')} FROM ${table.name}
     ${conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`}
     ORDER BY ${key} LIMIT ${String(PAGE)}`,
    [...(since === undefined ? [] : [since]), ...after],
  )
}

/** Returns complete tables as of one moment. @throws StorageError STORE_TAMPERED */
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

/** @throws StorageError STORE_TAMPERED when a key or credential was changed from outside */
export async function loadContents(reader: Reader, sealing: Sealing): Promise<StoreContents> {
  const { epoch } = await readState(reader, sealing)
  const tables = await loadTables(reader, sealing, [KEYS, KEY_VERSIONS, CREDENTIALS])
  const [keys = [], versions = [], credentials = []] = tables
  return { epoch, keys, versions, credentials }
}

/**
 * Returns the value of a sealed fact, verified to be the current one.
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

/** Verifies everything that is sealed. @throws StorageError STORE_TAMPERED */
export async function verifyAll(reader: Reader, sealing: Sealing): Promise<void> {
  await loadTables(reader, sealing, SEALED_TABLES)
}
