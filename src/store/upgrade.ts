/**
 * Upgrades a store of any schema version from 1 to 6 to the version 7 format in one transaction:
 * verifies the old format's digest and MACs, then seals the rows in the new format.
 */
// SPDX-License-Identifier: Apache-2.0
import { StorageError, type Reader, type Row, type SqlValue, type Transaction } from './database.ts'
import { readMark } from './epochs.ts'
import { findFact, readFact } from './facts.ts'
import { codeOf, column, describeRow } from './sealed-rows.ts'
import {
  CREDENTIALS,
  FACTS,
  KEY_VERSIONS,
  KEYS,
  DEAD_MAN_SWITCHES,
  RESTORATIONS,
  RESTORE_REQUESTS,
  type SealedTable,
  SWITCHES,
} from './sealed-tables.ts'
import { addElement, NO_ROWS, type TableSum, writeState } from './sealed-state.ts'
import type { Sealing } from './sealing.ts'

/** The tables covered by the digest, in this order. */
const FIRST_TABLES = [KEYS, KEY_VERSIONS, CREDENTIALS]
/** Tables that the digest covers only if they have rows. */
const LATER_TABLES = [SWITCHES, DEAD_MAN_SWITCHES, RESTORE_REQUESTS, RESTORATIONS]
/** Records of the old format that the sealed state replaces. */
const DIGEST = 'digest'
const EVENTS_HEAD = 'control_events'

/**
 * Does nothing if the store is already in the current format.
 * @throws StorageError STORE_TAMPERED
 */
export async function upgradeSeals(transaction: Transaction, sealing: Sealing): Promise<void> {
  if ((await findFact(transaction, 'state')) !== undefined) return
  const epoch = Number(await readFact(transaction, 'epoch'))
  const tables = await verifyOldForm(transaction, sealing)
  const sums = new Map<string, TableSum>()
  for (const [table, rows] of tables)
    sums.set(table.name, await reseal(transaction, sealing, table, rows, epoch))
  const head = (await findFact(transaction, EVENTS_HEAD)) ?? 'start'
  const [last] = await transaction.query('SELECT max(seq) AS seq FROM control_events')
  await transaction.execute('DELETE FROM facts WHERE name = ? OR name = ?', [DIGEST, EVENTS_HEAD])
  const facts = await transaction.query("SELECT name, value FROM facts WHERE name <> 'epoch'")
  sums.set(FACTS.name, await reseal(transaction, sealing, FACTS, facts, epoch))
  const { tag } = await readMark(transaction, sealing, epoch)
  const events = { seq: Number(last?.['seq'] ?? 0), head }
  await writeState(transaction, sealing, { epoch, tag, tables: sums, events })
}

/**
 * A MAC covers the name that the table had when the MAC was computed, so older MACs need the old
 * name.
 */
function oldNameOf({ name }: SealedTable): string {
  return name === DEAD_MAN_SWITCHES.name ? 'leased_access' : name
}

async function verifyOldForm(
  reader: Reader,
  sealing: Sealing,
): Promise<ReadonlyMap<SealedTable, readonly Row[]>> {
  const fields: SqlValue[] = ['digest', await readFact(reader, 'epoch')]
  const tables = new Map<SealedTable, readonly Row[]>()
  for (const table of [...FIRST_TABLES, ...LATER_TABLES]) {
    const names = [...table.key, ...table.columns]
    const rows = await reader.query(
      `SELECT ${names.join(', ')}, mac FROM ${table.name} ORDER BY ${table.key.join(', ')}`,
    )
    for (const row of rows) {
      const mac = sealing.authenticate([
        oldNameOf(table),
        ...names.map((name) => column(row, name)),
      ])
      if (column(row, 'mac') !== mac) {
        throw new StorageError(
          'STORE_TAMPERED',
          `a row was changed outside of Latchkey: ${describeRow(table, row)}`,
        )
      }
    }
    tables.set(table, rows)
    if (FIRST_TABLES.includes(table) || rows.length > 0) {
      fields.push(oldNameOf(table), rows.length, ...rows.map((row) => column(row, 'mac')))
    }
  }
  const head = await findFact(reader, EVENTS_HEAD)
  if (head !== undefined) fields.push(EVENTS_HEAD, head)
  if ((await readFact(reader, DIGEST)) !== sealing.authenticate(fields)) {
    throw new StorageError('STORE_TAMPERED', 'rows were added or removed outside of Latchkey')
  }
  return tables
}

async function reseal(
  transaction: Transaction,
  sealing: Sealing,
  table: SealedTable,
  rows: readonly Row[],
  epoch: number,
): Promise<TableSum> {
  let sum: TableSum = NO_ROWS
  for (const row of rows) {
    const sealed = { ...row, changed_epoch: epoch }
    const { mac, element } = codeOf(sealing, table, sealed)
    await transaction.execute(
      `UPDATE ${table.name} SET changed_epoch = ?, mac = ?
       WHERE ${table.key.map((name) => `${name} = ?`).join(' AND ')}`,
      [epoch, mac, ...table.key.map((name) => column(row, name))],
    )
    sum = addElement(sum, element)
  }
  return sum
}
