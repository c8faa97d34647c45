/**
 * Defines the row to which each wrapped secret is bound, and the fields that codes outside the
 * sealed tables cover. When the store key is replaced, all of it is sealed again (rekey.ts).
 */
// SPDX-License-Identifier: Apache-2.0
import type { Row, SqlValue } from './database.ts'
import { epochFields } from './epochs.ts'
import { column } from './sealed-rows.ts'
import { CREDENTIALS, FACTS, KEY_VERSIONS, type SealedTable } from './sealed-tables.ts'

/** Fact of stores that earlier releases created: the wrapped seed of the key that signs receipts. */
export const RECEIPT_KEY = 'receipt_key'
/** Fact of stores whose key was replaced: the wrapped key from which `Sealing.derive` derives. */
export const PURPOSE_KEY = 'purpose_key'

/** Binds wrapped material to its row, so that it cannot be unwrapped in another. */
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

/** Returns the wrapped column of a row; undefined if it has none, or if its secret was erased. */
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

/** Fields that the code of a row of `key_uses` covers. */
export function usesFields(row: Row): readonly SqlValue[] {
  const names = ['key_store', 'key_id', 'version', 'reserved_uses']
  return ['key_uses', ...names.map((name) => column(row, name))]
}

/** Fields that the code of a row of `webhooks` covers. */
export function webhookFields(name: string, seq: number): readonly SqlValue[] {
  return ['webhooks', name, seq]
}

/** A table whose rows each have a code but are part of no sum. */
export interface CodedTable {
  readonly name: string
  readonly key: readonly string[]
  readonly columns: readonly string[]
  readonly fields: (row: Row) => readonly SqlValue[]
  /**
   * Whether its readers repair a row with an invalid code, so that such a row is no reason to
   * refuse.
   */
  readonly isRepaired?: true
}

/** Heartbeats are missing here, because each instance writes its own again with each poll. */
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
