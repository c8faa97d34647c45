/**
 * Defines the row to which each wrapped secret is bound, and the fields that MACs outside the
 * sealed tables cover. When the store key is replaced, all these secrets and MACs are sealed again
 * (rekey.ts).
 */
// SPDX-License-Identifier: Apache-2.0
import type { Row, SqlValue } from './database.ts'
import { epochFields } from './epochs.ts'
import { column } from './sealed-rows.ts'
import { CREDENTIALS, FACTS, KEY_VERSIONS, type SealedTable } from './sealed-tables.ts'

/**
 * Name of the stored record that holds the wrapped seed of the receipt signing key, in stores
 * created by earlier releases.
 */
export const RECEIPT_KEY = 'receipt_key'
/**
 * Name of the stored record that holds the wrapped key for `Sealing.derive`, in stores whose key
 * has been replaced.
 */
export const PURPOSE_KEY = 'purpose_key'

/** Binds wrapped key material to its row, so that it cannot be unwrapped in any other row. */
export function materialContext(version: {
  readonly keyStore: string
  readonly keyId: string
  readonly version: number
}): readonly SqlValue[] {
  return ['key material', version.keyStore, version.keyId, version.version]
}

export function secretContext(accessKeyId: string, keyStore: string): readonly string[] {
  return ['credential', accessKeyId, keyStore]
}

export function factContext(name: string, storeId: string): readonly string[] {
  return [name, storeId]
}

interface WrappedColumn {
  readonly name: string
  readonly context: readonly SqlValue[]
}

/**
 * Returns a row's wrapped column, or undefined if the row has no secret or the secret was erased.
 */
export function wrappedColumn(
  table: SealedTable,
  row: Row,
  storeId: string,
): WrappedColumn | undefined {
  const found = findWrapped(table, row, storeId)
  return found === undefined || column(row, found.name) === null ? undefined : found
}

function findWrapped(table: SealedTable, row: Row, storeId: string): WrappedColumn | undefined {
  const text = (name: string) => String(column(row, name))
  switch (table) {
    case KEY_VERSIONS: {
      const version = Number(column(row, 'version'))
      const of = { keyStore: text('key_store'), keyId: text('key_id'), version }
      return { name: 'material', context: materialContext(of) }
    }
    case CREDENTIALS:
      return { name: 'secret', context: secretContext(text('access_key_id'), text('key_store')) }
    case FACTS: {
      const name = text('name')
      const isWrapped = name === RECEIPT_KEY || name === PURPOSE_KEY
      return isWrapped ? { name: 'value', context: factContext(name, storeId) } : undefined
    }
    default:
      return undefined
  }
}

/** Fields that a `key_uses` row's MAC covers. */
export function usesFields(row: Row): readonly SqlValue[] {
  const names = ['key_store', 'key_id', 'version', 'reserved_uses']
  return ['key_uses', ...names.map((name) => column(row, name))]
}

/** Fields that a `webhooks` row's MAC covers. */
export function webhookFields(name: string, seq: number): readonly SqlValue[] {
  return ['webhooks', name, seq]
}

/** A table whose rows each have a MAC but are not part of any sealed sum. */
export interface CodedTable {
  readonly name: string
  readonly key: readonly string[]
  readonly columns: readonly string[]
  readonly fields: (row: Row) => readonly SqlValue[]
  /** Whether readers repair a row that has an invalid MAC, instead of refusing requests. */
  readonly isRepaired?: true
}

/** Heartbeats are not listed, because each instance rewrites its own on every poll. */
export const CODED_TABLES: readonly CodedTable[] = [
  {
    name: 'key_uses',
    key: ['key_store', 'key_id', 'version'],
    columns: ['reserved_uses'],
    fields: usesFields,
  },
  {
    name: 'epochs',
    key: ['epoch'],
    columns: ['tag', 'accepts_any'],
    fields: (row) =>
      epochFields(
        Number(column(row, 'epoch')),
        String(column(row, 'tag')),
        Number(column(row, 'accepts_any')),
      ),
  },
  {
    name: 'webhooks',
    key: ['name'],
    columns: ['seq'],
    fields: (row) => webhookFields(String(column(row, 'name')), Number(column(row, 'seq'))),
    isRepaired: true,
  },
]
