/** Reads the rows of sealed tables page by page, in the order of their primary keys. Verifies nothing. */
// SPDX-License-Identifier: Apache-2.0
import { turn } from '../core/slices.ts'
import type { ExpectedQuery, Reader, Row } from './database.ts'
import { sealedColumns, type SealedTable } from './sealed-tables.ts'

/** Number of rows verified in one event-loop turn, which takes well under two milliseconds. */
export const TURN_ROWS = 100

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
  { since, pageRows = TURN_ROWS }: Pages,
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
        take(rows.length === pageRows ? rows : rows.slice(at, at + pageRows))
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
  { since, pageRows = TURN_ROWS }: Pages = {},
): Promise<readonly Row[]> {
  const after = last === undefined ? [] : table.key.map((name) => last[name] ?? null)
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
  const sql = toPageSql(table, { since, pageRows: TURN_ROWS }, false)
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
