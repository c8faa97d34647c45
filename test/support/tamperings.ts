/**
 * Every way to tamper with one row of a sealed table: edit, delete, insert, replay and swap. The cases are derived from
 * the table definitions, so they cover new tables and columns automatically.
 */
// SPDX-License-Identifier: Apache-2.0
import { createRequire } from 'node:module'
import type Sqlite from 'better-sqlite3'
import type { Row, SqlValue } from '../../src/store/database.ts'
import { MIGRATIONS } from '../../src/store/migrations/migrations.ts'
import type { SealedTable } from '../../src/store/sealed-tables.ts'

export interface Column {
  readonly name: string
  readonly isNumber: boolean
  readonly isNullable: boolean
}

/** Returns each table's columns, as created by the migrations. */
export function schemaColumns(): ReadonlyMap<string, readonly Column[]> {
  const require = createRequire(import.meta.url)
  const Engine = require('better-sqlite3') as typeof Sqlite
  const database = new Engine(':memory:')
  try {
    for (const sql of MIGRATIONS.flat()) database.exec(sql)
    const tables = database
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
      .pluck()
      .all() as string[]
    return new Map(
      tables.map((table) => [
        table,
        database
          .prepare<[], { name: string; type: string; notnull: number; pk: number }>(
            `PRAGMA table_info(${table})`,
          )
          .all()
          .map(({ name, type, notnull, pk }) => ({
            name,
            isNumber: type !== 'TEXT',
            isNullable: notnull === 0 && pk === 0,
          })),
      ]),
    )
  } finally {
    database.close()
  }
}

/** Rows of a table that an attacker knows: current rows, and earlier states. */
export interface Evidence {
  readonly table: SealedTable
  readonly columns: readonly Column[]
  readonly all: readonly Row[]
  readonly one: Row
  readonly two: Row
  /** An earlier state of `one`, with its MAC at that time. */
  readonly earlier: Row
  /** All rows that the table contained when `earlier` was read. */
  readonly allEarlier: readonly Row[]
  /** A deleted row, with its MAC. */
  readonly removed: Row | undefined
}

/** Returns the SQL statements for each way to tamper with a table, keyed by a description. */
export function tamperingsOf(evidence: Evidence): Readonly<Record<string, readonly string[]>> {
  const { table, columns, one, two, earlier, allEarlier, removed } = evidence
  const { name } = table
  const rest = columns.map((column) => column.name).filter((column) => !table.key.includes(column))
  const cases: Record<string, readonly string[]> = {}
  for (const column of columns) {
    const value = toLiteral(changed(column, one[column.name] ?? null))
    cases[`edit: ${column.name} is another`] = [
      `UPDATE ${name} SET ${column.name} = ${value} WHERE ${whereOf(table, one)}`,
    ]
    if (column.isNullable && one[column.name] !== null) {
      cases[`edit: ${column.name} is erased`] = [
        `UPDATE ${name} SET ${column.name} = NULL WHERE ${whereOf(table, one)}`,
      ]
    }
    if (!table.key.includes(column.name) && one[column.name] !== two[column.name]) {
      cases[`swap: ${column.name} of two rows`] = swap(evidence, [column.name])
    }
  }
  cases['swap: everything but the keys of two rows'] = swap(evidence, rest)
  cases['delete: one row'] = [`DELETE FROM ${name} WHERE ${whereOf(table, one)}`]
  cases['delete: all rows'] = [
    `DELETE FROM ${name}${table.except === undefined ? '' : ` WHERE ${table.except}`}`,
  ]
  const [key = ''] = table.key
  const keyColumn = columns.find((column) => column.name === key)
  if (keyColumn !== undefined) {
    cases['insert: a copy of a row under another key'] = [
      insertOf(name, { ...one, [key]: changed(keyColumn, one[key] ?? null) }),
    ]
  }
  cases['replay: the earlier state of a row'] = [
    `DELETE FROM ${name} WHERE ${whereOf(table, one)}`,
    insertOf(name, earlier),
  ]
  cases['replay: the earlier state of all rows'] = replaceAll(table, allEarlier)
  if (removed !== undefined) cases['replay: a row that was removed'] = [insertOf(name, removed)]
  return cases
}

/** Returns SQL statements that set a table's rows. */
export function replaceAll(table: SealedTable, rows: readonly Row[]): readonly string[] {
  const where = table.except === undefined ? '' : ` WHERE ${table.except}`
  return [`DELETE FROM ${table.name}${where}`, ...rows.map((row) => insertOf(table.name, row))]
}

function swap({ table, one, two }: Evidence, names: readonly string[]): readonly string[] {
  const set = (to: Row, from: Row) =>
    `UPDATE ${table.name} SET ${names.map((name) => `${name} = ${toLiteral(from[name] ?? null)}`).join(', ')}
     WHERE ${whereOf(table, to)}`
  return [set(one, two), set(two, one)]
}

function changed({ isNumber }: Column, value: SqlValue): SqlValue {
  return isNumber ? Number(value ?? 0) + 1 : `${typeof value === 'string' ? value : ''}x`
}

function whereOf({ key }: SealedTable, row: Row): string {
  return key.map((name) => `${name} = ${toLiteral(row[name] ?? null)}`).join(' AND ')
}

function insertOf(table: string, row: Row): string {
  const values = Object.values(row).map(toLiteral)
  return `INSERT INTO ${table} (${Object.keys(row).join(', ')}) VALUES (${values.join(', ')})`
}

function toLiteral(value: SqlValue): string {
  if (value === null) return 'NULL'
  if (typeof value === 'string') return `'${value.replaceAll("'", "''")}'`
  if (typeof value === 'number') return String(value)
  throw new TypeError('no sealed table has a column of bytes')
}
