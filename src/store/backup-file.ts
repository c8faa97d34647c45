/**
 * Defines the backup file format: one JSON document per line, containing the rows of every table,
 * then a signed manifest on the last line.
 */
// SPDX-License-Identifier: Apache-2.0
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Signed } from '../core/signature.ts'
import { StorageError, type SqlValue } from './database.ts'
import { MIGRATIONS } from './migrations/migrations.ts'
import { SEALED_TABLES } from './sealed-tables.ts'

/**
 * The signed description of a backup, written as the last line of its file. Times are wall-clock
 * times, in milliseconds.
 */
export interface Manifest {
  readonly kind: 'backup'
  readonly storeId: string
  readonly epoch: number
  /** The epoch's tag. */
  readonly tag: string
  /** Schema version. */
  readonly schema: number
  readonly createdAt: number
  /** Latchkey release that made the backup. */
  readonly release: string
  /** Row count per table. */
  readonly rows: Readonly<Record<string, number>>
  /** SHA-256 of all bytes before the manifest, in hex. */
  readonly sha256: string
}

export interface Table {
  readonly name: string
  readonly key: readonly string[]
}

/**
 * The tables in a backup, with referenced tables first. Instance heartbeats are omitted, because
 * they would be stale after a restore.
 */
export const TABLES: readonly Table[] = [
  ...SEALED_TABLES,
  { name: 'key_uses', key: ['key_store', 'key_id', 'version'] },
  { name: 'control_events', key: ['seq'] },
  { name: 'epochs', key: ['epoch'] },
  { name: 'activity_subjects', key: ['subject'] },
  { name: 'activity', key: ['span_ms', 'starts_at', 'subject'] },
  { name: 'credential_uses', key: ['access_key_id'] },
  { name: 'admin_token_uses', key: ['id'] },
  // A backup omits ledger_writers, so that a recovered store makes no claim about usage before its
  // recovery.
  { name: 'version_uses', key: ['key_store', 'key_id', 'version', 'kind', 'caller'] },
]

export const FORMAT = 'latchkey-backup'
export const VERSION = 1

export interface Header {
  readonly format: typeof FORMAT
  readonly version: typeof VERSION
}

/**
 * Reports whether the row counts match those of the manifest. A table that does not exist in the
 * manifest's schema version counts as empty.
 */
export function countsRows(
  { rows: expected }: Manifest,
  found: Readonly<Record<string, number>>,
): boolean {
  const names = new Set([...Object.keys(expected), ...Object.keys(found)])
  return [...names].every((name) => (expected[name] ?? 0) === (found[name] ?? 0))
}

/** One line of the file, with rows from one table. Each row has its values in column order. */
export interface Lines {
  readonly table: string
  readonly columns: readonly string[]
  readonly rows: readonly (readonly SqlValue[])[]
}

/**
 * Yields the lines of a file.
 * @throws a system error
 */
export function linesOf(path: string) {
  const input = createReadStream(path, { encoding: 'utf8' })
  return createInterface({ input, crlfDelay: Infinity })
}

/** @throws StorageError BACKUP_INVALID */
export function checkHeader(path: string, line: string): void {
  const header = parse(line) as Partial<Header> | undefined
  if (header?.format === FORMAT && header.version === VERSION) return
  throw invalid(path, 'the file is not a Latchkey backup')
}

/**
 * Parses one line of rows. Table and column names are inserted into SQL, so each must be a known
 * name.
 * @throws StorageError BACKUP_INVALID
 */
export function parseLines(path: string, line: string): Lines {
  const lines = parse(line) as Partial<Lines> | undefined
  const { table = '', columns = [], rows = [] } = lines ?? {}
  const isKnown = TABLES.some(({ name }) => name === table)
  const isName = (name: unknown) => typeof name === 'string' && /^[a-z_]{1,40}$/.test(name)
  const isRow = (row: unknown) =>
    Array.isArray(row) && row.length === columns.length && row.every(isValue)
  const isGood =
    Array.isArray(columns) && columns.every(isName) && Array.isArray(rows) && rows.every(isRow)
  if (!isKnown || !isGood || rows.length === 0) throw invalid(path, 'a line of the file is damaged')
  return { table, columns, rows }
}

function isValue(value: unknown): value is SqlValue {
  return value === null || typeof value === 'string' || Number.isSafeInteger(value)
}

/** @throws StorageError BACKUP_INVALID, STORE_NEWER */
export function parseManifest(path: string, line: string): Signed<Manifest> {
  const signed = parse(line) as Partial<Signed<Manifest>> | undefined
  const { statement, publicKey, signature } = signed ?? {}
  if (statement?.kind !== 'backup' || publicKey === undefined || signature === undefined) {
    throw invalid(path, 'the file ends without a manifest')
  }
  if (!(statement.schema <= MIGRATIONS.length)) {
    throw new StorageError(
      'STORE_NEWER',
      `${path} has schema version ${String(statement.schema)}; expected at most ${String(MIGRATIONS.length)}`,
      { hint: `load the backup with release ${statement.release}` },
    )
  }
  return { statement, publicKey, signature }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line) as unknown
  } catch {
    return undefined
  }
}

export function invalid(path: string, why: string): StorageError {
  return new StorageError('BACKUP_INVALID', `cannot use ${path} as a backup: ${why}`)
}
