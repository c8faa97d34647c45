/** Rows that carry an authentication code, and the digest that notices when one of them is gone. */
// SPDX-License-Identifier: Apache-2.0
import { StorageError, type Reader, type Row, type SqlValue, type Transaction } from './database.ts'
import type { Sealing } from './sealing.ts'

export interface SealedTable {
  readonly name: string
  /** The name that the codes of its rows cover, where the table was renamed since. */
  readonly sealedAs?: string
  /** Columns of the primary key. */
  readonly key: readonly string[]
  /** All other columns but `mac`. */
  readonly columns: readonly string[]
}

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
  sealedAs: 'leased_access',
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

/** Requests to restore of schemas before 6. Nothing is added to it. */
export const RESTORE_REQUESTS: SealedTable = {
  name: 'restore_requests',
  key: ['id'],
  columns: ['switch_ids', 'reason', 'operator', 'requested_at', 'ready_at', 'approved_by'],
}

const TABLES = [KEYS, KEY_VERSIONS, CREDENTIALS]
/** Of later schemas: they count in the digest once they have rows, so older stores stay valid. */
const LATER_TABLES = [SWITCHES, DEAD_MAN_SWITCHES, RESTORE_REQUESTS, RESTORATIONS]
/** The code of the last event (event-log.ts), which chains all before it. */
export const EVENTS_HEAD = 'control_events'

/** Everything in the store that is authenticated, as of one moment. */
export interface StoreContents {
  readonly epoch: number
  readonly keys: readonly Row[]
  readonly versions: readonly Row[]
  readonly credentials: readonly Row[]
}

/** The value of a column; absent means that the schema is another than this release's. */
export function column(row: Row, name: string): SqlValue {
  const value = row[name]
  if (value === undefined) throw new StorageError('STORE_CORRUPT', `a row lacks its column ${name}`)
  return value
}

function allColumns(table: SealedTable): readonly string[] {
  return [...table.key, ...table.columns]
}

function authenticate(sealing: Sealing, table: SealedTable, row: Row): string {
  return sealing.authenticate([
    table.sealedAs ?? table.name,
    ...allColumns(table).map((name) => column(row, name)),
  ])
}

function describe(table: SealedTable, row: Row): string {
  return `${table.name} ${table.key.map((name) => String(column(row, name))).join(' ')}`
}

/** @throws StorageError CONFLICT when the primary key is taken */
export async function insertRow(
  transaction: Transaction,
  sealing: Sealing,
  table: SealedTable,
  row: Row,
): Promise<void> {
  const names = [...allColumns(table), 'mac']
  const sealed = { ...row, mac: authenticate(sealing, table, row) }
  await transaction.execute(
    `INSERT INTO ${table.name} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`,
    names.map((name) => column(sealed, name)),
  )
}

/** Writes all columns of the row that has this primary key. */
export async function updateRow(
  transaction: Transaction,
  sealing: Sealing,
  table: SealedTable,
  row: Row,
): Promise<void> {
  const names = [...table.columns, 'mac']
  const sealed = { ...row, mac: authenticate(sealing, table, row) }
  await transaction.execute(
    `UPDATE ${table.name} SET ${names.map((name) => `${name} = ?`).join(', ')}
     WHERE ${table.key.map((name) => `${name} = ?`).join(' AND ')}`,
    [...names, ...table.key].map((name) => column(sealed, name)),
  )
}

/** Removes the row that has this primary key. */
export async function deleteRow(
  transaction: Transaction,
  table: SealedTable,
  key: Row,
): Promise<void> {
  await transaction.execute(
    `DELETE FROM ${table.name} WHERE ${table.key.map((name) => `${name} = ?`).join(' AND ')}`,
    table.key.map((name) => column(key, name)),
  )
}

/** Rows in the order of their primary key, each verified. @throws StorageError STORE_TAMPERED */
export async function selectRows(
  reader: Reader,
  sealing: Sealing,
  table: SealedTable,
  where: Row = {},
): Promise<readonly Row[]> {
  const conditions = Object.keys(where).map((name) => `${name} = ?`)
  const rows = await reader.query(
    `SELECT ${[...allColumns(table), 'mac'].join(', ')} FROM ${table.name}
     ${conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`}
     ORDER BY ${table.key.join(', ')}`,
    Object.values(where),
  )
  for (const row of rows) {
    if (column(row, 'mac') !== authenticate(sealing, table, row)) {
      throw new StorageError(
        'STORE_TAMPERED',
        `changed outside of Latchkey: ${describe(table, row)}`,
      )
    }
  }
  return rows
}

/** Over the epoch and every row's code: a row that was removed or put back is noticed. */
async function computeDigest(reader: Reader, sealing: Sealing): Promise<string> {
  const fields: SqlValue[] = ['digest', await readFact(reader, 'epoch')]
  for (const table of TABLES) {
    const rows = await reader.query(
      `SELECT mac FROM ${table.name} ORDER BY ${table.key.join(', ')}`,
    )
    fields.push(table.sealedAs ?? table.name, rows.length, ...rows.map((row) => column(row, 'mac')))
  }
  for (const table of LATER_TABLES) {
    const rows = await reader.query(
      `SELECT mac FROM ${table.name} ORDER BY ${table.key.join(', ')}`,
    )
    if (rows.length > 0)
      fields.push(
        table.sealedAs ?? table.name,
        rows.length,
        ...rows.map((row) => column(row, 'mac')),
      )
  }
  const head = await findFact(reader, EVENTS_HEAD)
  if (head !== undefined) fields.push(EVENTS_HEAD, head)
  return sealing.authenticate(fields)
}

/** To be called at the end of every transaction that changed a sealed row. */
export async function refreshDigest(transaction: Transaction, sealing: Sealing): Promise<void> {
  await writeFact(transaction, 'digest', await computeDigest(transaction, sealing))
}

/** @throws StorageError STORE_TAMPERED when any row was changed, added or removed by others */
export async function loadContents(reader: Reader, sealing: Sealing): Promise<StoreContents> {
  const keys = await selectRows(reader, sealing, KEYS)
  const versions = await selectRows(reader, sealing, KEY_VERSIONS)
  const credentials = await selectRows(reader, sealing, CREDENTIALS)
  await checkDigest(reader, sealing)
  return { epoch: Number(await readFact(reader, 'epoch')), keys, versions, credentials }
}

/** @throws StorageError STORE_TAMPERED when the rows and the epoch are not those of one state */
export async function checkDigest(reader: Reader, sealing: Sealing): Promise<void> {
  if ((await readFact(reader, 'digest')) !== (await computeDigest(reader, sealing))) {
    throw new StorageError('STORE_TAMPERED', 'rows were added or removed outside of Latchkey')
  }
}

/** @throws StorageError STORE_CORRUPT when there is none */
export async function readFact(reader: Reader, name: string): Promise<string> {
  const value = await findFact(reader, name)
  if (value === undefined) {
    throw new StorageError('STORE_CORRUPT', `the store lacks its fact "${name}"`)
  }
  return value
}

export async function findFact(reader: Reader, name: string): Promise<string | undefined> {
  const rows = await reader.query('SELECT value FROM facts WHERE name = ?', [name])
  const value = rows[0]?.['value']
  return typeof value === 'string' ? value : undefined
}

export async function writeFact(
  transaction: Transaction,
  name: string,
  value: string,
): Promise<void> {
  await transaction.execute(
    'INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
    [name, value],
  )
}
