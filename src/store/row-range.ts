/** Reads part of a sealed table, so that a list can be shown page by page. */
// SPDX-License-Identifier: Apache-2.0
import { forEachInSlices, turn } from '../core/slices.ts'
import type { Reader, Row, SqlValue } from './database.ts'
import { column, verifyRow } from './sealed-rows.ts'
import { sealedColumns, type SealedTable } from './sealed-tables.ts'
import type { Sealing } from './sealing.ts'

export interface RowRange {
  /** Values that the first key columns must have (default: none). */
  readonly prefix?: readonly SqlValue[]
  /** Only rows whose next key column sorts after this value, in the database's order, are read. */
  readonly after?: SqlValue | undefined
  /** Only rows that have one of these values (at least one) in this column are read. */
  readonly among?: { readonly column: string; readonly values: readonly SqlValue[] }
  /** Maximum number of rows (default: no maximum). */
  readonly limit?: number
}

export interface RangeReader<T> {
  readonly reader: Reader
  readonly sealing: Sealing
  readonly table: SealedTable
  /** Called for each row, a slice of them in one turn of the event loop. */
  readonly parse: (row: Row) => T
}

/** Number of rows verified in one turn of the event loop. */
const SLICE = 100

/**
 * Returns what rows contain, in the order of their key, after verifying each on its own. Unlike `Store.tables`,
 * this does not notice missing or outdated rows; `verifySmallTables` notices those of small tables, and the
 * audits of the servers all of them.
 * @throws StorageError STORE_TAMPERED
 */
export async function readRange<T>(
  { reader, sealing, table, parse }: RangeReader<T>,
  { prefix = [], after, among, limit = Infinity }: RowRange,
): Promise<readonly T[]> {
  const rest = table.key.slice(prefix.length)
  const perQuery = Math.max(SLICE, reader.pageRows ?? 0)
  const found: T[] = []
  let from = after === undefined ? [] : [after]
  for (;;) {
    const count = Math.min(perQuery, limit - found.length)
    const conditions = [
      ...prefix.map((_, i) => `${String(table.key[i])} = ?`),
      ...(among === undefined ? [] : [`${among.column} IN (${toMarks(among.values)})`]),
      ...(from.length === 0
        ? []
        : [`(${rest.slice(0, from.length).join(', ')}) > (${toMarks(from)})`]),
    ]
    const rows = await reader.query(
      `SELECT ${[...sealedColumns(table), 'mac'].join(', ')} FROM ${table.name}
       ${conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`}
       ORDER BY ${rest.join(', ')} LIMIT ?`,
      [...prefix, ...(among?.values ?? []), ...from, count],
    )
    await forEachInSlices(rows, SLICE, (row) => {
      verifyRow(sealing, table, row)
      found.push(parse(row))
    })
    const last = rows.at(-1)
    if (last === undefined || rows.length < count || found.length >= limit) return found
    from = rest.map((name) => column(last, name))
    await turn()
  }
}

const toMarks = (values: readonly unknown[]) => values.map(() => '?').join(', ')
