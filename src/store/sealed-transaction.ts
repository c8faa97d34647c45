/** One change to sealed rows. It tracks the tables' sums and reads back the rows that it has written. */
// SPDX-License-Identifier: Apache-2.0
import type { Row, SqlValue, Transaction } from './database.ts'
import { column, codeOf, describeRow, selectRows, verifyRow } from './sealed-rows.ts'
import { sealedColumns, REMOVED_ROWS, type SealedTable } from './sealed-tables.ts'
import {
  addElement,
  NO_ROWS,
  notWritten,
  subtractElement,
  type SealedState,
} from './sealed-state.ts'
import type { Sealing } from './sealing.ts'

/** The transaction of one change, with a ledger that tracks the sealed rows that it changes. */
export interface SealedTransaction extends Transaction {
  readonly ledger: Ledger
}

export class Ledger {
  /** The store's epoch after the change. */
  readonly epoch: number
  /** The random tag of that epoch. */
  readonly tag: string
  readonly #tables: Map<string, { rows: number; sum: bigint }>
  /** The expected final MACs, by table and primary key; undefined for a deleted row. */
  readonly #written = new Map<string, { table: SealedTable; key: Row; mac: string | undefined }>()
  events: SealedState['events']

  constructor(before: SealedState, { epoch, tag }: Pick<SealedState, 'epoch' | 'tag'>) {
    this.epoch = epoch
    this.tag = tag
    this.#tables = new Map(before.tables)
    this.events = before.events
  }

  get tables(): SealedState['tables'] {
    return this.#tables
  }

  add(table: SealedTable, row: Row, code: { mac: string; element: bigint }): void {
    const before = this.#tables.get(table.name) ?? NO_ROWS
    this.#tables.set(table.name, addElement(before, code.element))
    this.#note(table, row, code.mac)
  }

  subtract(table: SealedTable, row: Row, element: bigint): void {
    const before = this.#tables.get(table.name) ?? NO_ROWS
    this.#tables.set(table.name, subtractElement(before, element))
    this.#note(table, row, undefined)
  }

  /** @throws StorageError STORE_TAMPERED if the database did not keep what was written */
  async readBack(transaction: Transaction, sealing: Sealing): Promise<void> {
    for (const { table, key, mac } of this.#written.values()) {
      const [row] = await selectRows(transaction, sealing, table, key)
      if (row?.['mac'] !== mac) throw notWritten(describeRow(table, key))
    }
  }

  #note(table: SealedTable, row: Row, mac: string | undefined): void {
    const key = keyOf(table, row)
    this.#written.set(`${table.name} ${JSON.stringify(Object.values(key))}`, { table, key, mac })
  }
}

function keyOf(table: SealedTable, row: Row): Row {
  return Object.fromEntries(table.key.map((name) => [name, column(row, name)]))
}

/** @throws StorageError CONFLICT if the primary key is already in use */
export async function insertRow(
  transaction: SealedTransaction,
  sealing: Sealing,
  table: SealedTable,
  given: Row,
): Promise<void> {
  const row = { ...given, changed_epoch: transaction.ledger.epoch }
  const code = codeOf(sealing, table, row)
  const names = [...sealedColumns(table), 'mac']
  await transaction.execute(
    `INSERT INTO ${table.name} (${names.join(', ')}) VALUES (${names.map(() => '?').join(', ')})`,
    valuesOf({ ...row, mac: code.mac }, names),
  )
  transaction.ledger.add(table, row, code)
}

/**
 * Overwrites every column of the row with this primary key.
 * @returns false if there is no such row
 */
export async function updateRow(
  transaction: SealedTransaction,
  sealing: Sealing,
  table: SealedTable,
  given: Row,
): Promise<boolean> {
  const [before] = await selectRows(transaction, sealing, table, keyOf(table, given))
  if (before === undefined) return false
  await replaceRow(transaction, sealing, table, before, given)
  return true
}

/**
 * Overwrites every column of a row.
 * @param before the row as it was selected in this transaction
 */
export async function replaceRow(
  transaction: SealedTransaction,
  sealing: Sealing,
  table: SealedTable,
  before: Row,
  given: Row,
): Promise<void> {
  const row = { ...given, changed_epoch: transaction.ledger.epoch }
  const code = codeOf(sealing, table, row)
  const names = [...table.columns, 'changed_epoch', 'mac']
  await transaction.execute(
    `UPDATE ${table.name} SET ${names.map((name) => `${name} = ?`).join(', ')}
     WHERE ${table.key.map((name) => `${name} = ?`).join(' AND ')}`,
    valuesOf({ ...row, mac: code.mac }, [...names, ...table.key]),
  )
  transaction.ledger.subtract(table, before, verifyRow(sealing, table, before).element)
  transaction.ledger.add(table, row, code)
}

/** Updates the row with this primary key, or inserts it. */
export async function putRow(
  transaction: SealedTransaction,
  sealing: Sealing,
  table: SealedTable,
  row: Row,
): Promise<void> {
  if (await updateRow(transaction, sealing, table, row)) return
  await insertRow(transaction, sealing, table, row)
}

/** Removes the row with this primary key, if there is one, and records the deletion for servers. */
export async function deleteRow(
  transaction: SealedTransaction,
  sealing: Sealing,
  table: SealedTable,
  key: Row,
): Promise<void> {
  const [before] = await selectRows(transaction, sealing, table, key)
  if (before === undefined) return
  await transaction.execute(
    `DELETE FROM ${table.name} WHERE ${table.key.map((name) => `${name} = ?`).join(' AND ')}`,
    valuesOf(key, table.key),
  )
  transaction.ledger.subtract(table, before, verifyRow(sealing, table, before).element)
  if (table.leavesNoRecord === true) return
  const removed = {
    table_name: table.name,
    row_key: JSON.stringify(valuesOf(key, table.key)),
  }
  if (!(await updateRow(transaction, sealing, REMOVED_ROWS, removed))) {
    await insertRow(transaction, sealing, REMOVED_ROWS, removed)
  }
}

function valuesOf(row: Row, names: readonly string[]): readonly SqlValue[] {
  return names.map((name) => column(row, name))
}
