/**
 * The table of use counts. A row depends on no other row, and is not part of any table's sum.
 */
// SPDX-License-Identifier: Apache-2.0
import { forEachInSlices, turn } from '../../core/slices.ts'
import { usesFields } from '../../store/bindings.ts'
import {
  StorageError,
  type Database,
  type Reader,
  type Row,
  type SqlValue,
} from '../../store/database.ts'
import { column } from '../../store/sealed-rows.ts'
import type { Sealing } from '../../store/sealing.ts'

export interface VersionUses {
  readonly keyStore: string
  readonly keyId: string
  readonly version: number
  /** Count in the version's own row; the reserved total is never lower than this. */
  readonly floor: number
}

/** Latest count of a version that this process knows. */
export interface Known {
  readonly total: number
  /** Code of the version's row; undefined if it has none. */
  readonly code?: string
}

const KEY = ['key_store', 'key_id', 'version'] as const
export const NAMES = [...KEY, 'reserved_uses', 'mac'] as const
/** Number of rows verified in one turn of the event loop. */
const PAGE = 200

/**
 * Returns the number of reserved uses of each version, keyed by `toId`; versions that have never
 * encrypted are absent.
 * @param keyIds keys whose versions are read (default: all keys of the key store)
 * @throws StorageError STORE_TAMPERED
 */
export async function loadUses(
  reader: Reader,
  sealing: Sealing,
  keyStore: string,
  keyIds?: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const uses = new Map<string, number>()
  if (keyIds?.length === 0) return uses
  const ofKeys = keyIds && ` AND key_id IN (${keyIds.map(() => '?').join(', ')})`
  const where = [keyStore, ...(keyIds ?? [])]
  const page = Math.max(PAGE, reader.pageRows ?? 0)
  let after: readonly SqlValue[] = []
  for (;;) {
    const rows = await reader.query(
      `SELECT ${NAMES.join(', ')} FROM key_uses WHERE key_store = ?${ofKeys ?? ''}
       ${after.length === 0 ? '' : 'AND (key_id, version) > (?, ?)'}
       ORDER BY key_id, version LIMIT ?`,
      [...where, ...after, page],
    )
    await forEachInSlices(rows, PAGE, (row) => {
      uses.set(toId(fromRow(row)), parse(sealing, row))
    })
    const last = rows.at(-1)
    if (last === undefined || rows.length < page) return uses
    after = [column(last, 'key_id'), column(last, 'version')]
    await turn()
  }
}

/** Passes up to `limit` rows to `take`, in primary key order, in small slices. */
export async function readAll(
  reader: Reader,
  limit: number,
  take: (row: Row) => void,
): Promise<void> {
  const page = Math.max(PAGE, reader.pageRows ?? 0)
  let after: readonly SqlValue[] = []
  for (let left = limit; left > 0;) {
    const rows = await reader.query(
      `SELECT ${NAMES.join(', ')} FROM key_uses
       ${after.length === 0 ? '' : `WHERE (${KEY.join(', ')}) > (?, ?, ?)`}
       ORDER BY ${KEY.join(', ')} LIMIT ?`,
      [...after, Math.min(page, left)],
    )
    await forEachInSlices(rows, PAGE, take)
    const last = rows.at(-1)
    if (last === undefined || rows.length < page) return
    after = KEY.map((name) => column(last, name))
    left -= rows.length
    await turn()
  }
}

/**
 * Returns, for each key store, the highest number of reserved uses; for each key, only the newest
 * used version counts. The result feeds a metric, so the rows' MACs are not verified.
 */
export async function loadHighestUses(reader: Reader): Promise<ReadonlyMap<string, number>> {
  const rows = await reader.query(
    `SELECT key_store, MAX(reserved_uses) AS uses FROM key_uses AS one
     WHERE version = (SELECT MAX(version) FROM key_uses AS other
                      WHERE other.key_store = one.key_store AND other.key_id = one.key_id)
     GROUP BY key_store`,
  )
  return new Map(rows.map((row) => [String(column(row, 'key_store')), Number(column(row, 'uses'))]))
}

/**
 * Reads outside of a snapshot, so that a long snapshot of this process does not delay the read. The
 * result has an error in place of each count whose row does not verify.
 */
export async function readUses(
  database: Database,
  sealing: Sealing,
  wishes: readonly { readonly at: VersionUses }[],
): Promise<ReadonlyMap<string, Known | StorageError>> {
  const rows = await database.read(
    `SELECT ${NAMES.join(', ')} FROM key_uses
     WHERE (key_store, key_id, version) IN (VALUES ${wishes.map(() => '(?, ?, ?)').join(', ')})`,
    wishes.flatMap(({ at }) => [at.keyStore, at.keyId, at.version]),
  )
  return new Map(rows.map((row) => [toId(fromRow(row)), judge(sealing, row)]))
}

/** A space is a safe separator: neither key store names nor key ids contain one. */
export function toId(at: Pick<VersionUses, 'keyStore' | 'keyId' | 'version'>): string {
  return `${at.keyStore} ${at.keyId} ${String(at.version)}`
}

export function toRow(sealing: Sealing, at: VersionUses, total: number): Row {
  const row = {
    key_store: at.keyStore,
    key_id: at.keyId,
    version: at.version,
    reserved_uses: total,
  }
  return { ...row, mac: sealing.authenticate(usesFields(row)) }
}

export function fromRow(row: Row): Pick<VersionUses, 'keyStore' | 'keyId' | 'version'> {
  return {
    keyStore: String(column(row, 'key_store')),
    keyId: String(column(row, 'key_id')),
    version: Number(column(row, 'version')),
  }
}

export function isAuthentic(sealing: Sealing, row: Row): boolean {
  return sealing.isAuthentic(usesFields(row), column(row, 'mac'))
}

function parse(sealing: Sealing, row: Row): number {
  if (!isAuthentic(sealing, row)) {
    throw new StorageError(
      'STORE_TAMPERED',
      `changed outside of Latchkey: key_uses ${toId(fromRow(row))}`,
    )
  }
  return Number(column(row, 'reserved_uses'))
}

/** Returns the error if the row does not verify. */
export function judge(sealing: Sealing, row: Row): Known | StorageError {
  try {
    return parseKnown(sealing, row)
  } catch (error) {
    if (error instanceof StorageError) return error
    throw error
  }
}

/** @throws StorageError STORE_TAMPERED */
export function parseKnown(sealing: Sealing, row: Row): Known {
  return { total: parse(sealing, row), code: String(column(row, 'mac')) }
}
