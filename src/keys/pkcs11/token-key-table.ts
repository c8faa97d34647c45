/** Stores check values of key versions on tokens, and implements `keys trust`. */
// SPDX-License-Identifier: Apache-2.0
import type { ExternalKeyId, KeyStoreName } from '../../core/ids.ts'
import type { Row } from '../../store/database.ts'
import { appendEvent } from '../../store/event-log.ts'
import { column, selectRows } from '../../store/sealed-rows.ts'
import { TOKEN_KEYS } from '../../store/sealed-tables.ts'
import {
  deleteRow,
  insertRow,
  putRow,
  type SealedTransaction,
} from '../../store/sealed-transaction.ts'
import type { Store } from '../../store/store.ts'
import type { TrustChange, TrustOrder } from '../administration.ts'

export interface KeyName {
  readonly keyStore: KeyStoreName
  readonly keyId: ExternalKeyId
}

export interface TokenKeyRow extends KeyName {
  readonly version: number
  /** Key check value in Base64. */
  readonly check: string
  readonly seenAt: number
  /**
   * Reason and operator given to `keys trust`; null for a version that was recorded when first
   * seen.
   */
  readonly reason: string | null
  readonly operator: string | null
}

/** The casts are safe: the row's MAC proves that a function of this file wrote it. */
export function parseTokenKey(row: Row): TokenKeyRow {
  return {
    keyStore: column(row, 'key_store') as KeyStoreName,
    keyId: column(row, 'key_id') as ExternalKeyId,
    version: Number(column(row, 'version')),
    check: String(column(row, 'check_value')),
    seenAt: Number(column(row, 'seen_at')),
    reason: column(row, 'reason') as string | null,
    operator: column(row, 'operator') as string | null,
  }
}

/**
 * Compares check values. A value that the token could not compute is empty, and an empty value
 * matches any other.
 */
export function isSameKey(recorded: string, found: string): boolean {
  return recorded === found || recorded === '' || found === ''
}

function fromTokenKey(row: TokenKeyRow): Row {
  return {
    ...{ key_store: row.keyStore, key_id: row.keyId, version: row.version },
    ...{ check_value: row.check, seen_at: row.seenAt, reason: row.reason, operator: row.operator },
  }
}

/** Access to the table within one transaction. */
export class TokenKeyTable {
  readonly #transaction: SealedTransaction
  readonly #sealing: Store['sealing']

  constructor(transaction: SealedTransaction, sealing: Store['sealing']) {
    this.#transaction = transaction
    this.#sealing = sealing
  }

  /** Returns the recorded versions in ascending order. */
  async versions({ keyStore, keyId }: KeyName): Promise<readonly TokenKeyRow[]> {
    const where = { key_store: keyStore, key_id: keyId }
    return (await selectRows(this.#transaction, this.#sealing, TOKEN_KEYS, where)).map(
      parseTokenKey,
    )
  }

  /**
   * Records a version. An existing record stays unchanged, because the first key seen is the
   * trusted one.
   */
  async recordFirst(row: TokenKeyRow): Promise<void> {
    const { keyStore, keyId, version } = row
    const where = { key_store: keyStore, key_id: keyId, version }
    const [known] = await selectRows(this.#transaction, this.#sealing, TOKEN_KEYS, where)
    if (known === undefined)
      await insertRow(this.#transaction, this.#sealing, TOKEN_KEYS, fromTokenKey(row))
    // The record was made while the token could not compute a check value.
    else if (parseTokenKey(known).check === '') await this.put(row)
  }

  async put(row: TokenKeyRow): Promise<void> {
    await putRow(this.#transaction, this.#sealing, TOKEN_KEYS, fromTokenKey(row))
  }

  async delete({ keyStore, keyId }: KeyName, version: number): Promise<void> {
    const key = { key_store: keyStore, key_id: keyId, version }
    await deleteRow(this.#transaction, this.#sealing, TOKEN_KEYS, key)
  }
}

/**
 * Replaces the records of a key with the versions now on the token, and writes the event in the
 * same change.
 * @returns the differences; nothing is written if there are none
 */
export async function trustVersions(
  store: Store,
  order: KeyName & TrustOrder & { readonly at: number },
  present: readonly Pick<TokenKeyRow, 'version' | 'check'>[],
): Promise<readonly TrustChange[]> {
  const { keyStore, keyId, reason, operator, at } = order
  const known = (await store.tables(TOKEN_KEYS))[0]?.map(parseTokenKey) ?? []
  const own = known.filter((row) => row.keyStore === keyStore && row.keyId === keyId)
  if (compare(own, present).length === 0) return []
  return store.change(async (transaction, epoch) => {
    const table = new TokenKeyTable(transaction, store.sealing)
    const changes = compare(await table.versions(order), present)
    for (const { version, found } of changes) {
      if (found === undefined) await table.delete(order, version)
      else await table.put({ keyStore, keyId, version, check: found, seenAt: at, reason, operator })
    }
    await appendEvent(transaction, store.sealing, {
      ...{ at, epoch, kind: 'key-trusted', operator },
      detail: { keyStore, keyId, reason, changes },
    })
    return changes
  })
}

function compare(
  recorded: readonly TokenKeyRow[],
  present: readonly Pick<TokenKeyRow, 'version' | 'check'>[],
): readonly TrustChange[] {
  const before = new Map(recorded.map((row) => [row.version, row.check]))
  const after = new Map(present.map(({ version, check }) => [version, check]))
  const versions = [...new Set([...before.keys(), ...after.keys()])].sort((a, b) => a - b)
  return versions.flatMap((version) => {
    const [old, found] = [before.get(version), after.get(version)]
    if (old !== undefined && found !== undefined && isSameKey(old, found)) return []
    return [
      {
        version,
        ...(old === undefined ? {} : { recorded: old }),
        ...(found === undefined ? {} : { found }),
      },
    ]
  })
}
