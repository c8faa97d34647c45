/** Reads and writes stored keys and versions. Key material is wrapped, and rows are authenticated. */
// SPDX-License-Identifier: Apache-2.0
import type { ExternalKeyId } from '../../core/ids.ts'
import { materialContext } from '../../store/bindings.ts'
import type { Row } from '../../store/database.ts'
import type { StoreContents } from '../../store/contents.ts'
import { column, selectRows } from '../../store/sealed-rows.ts'
import { KEY_VERSIONS, KEYS } from '../../store/sealed-tables.ts'
import { insertRow, type SealedTransaction, updateRow } from '../../store/sealed-transaction.ts'
import type { Sealing } from '../../store/sealing.ts'
import { BackendError } from '../errors.ts'
import type { KeyStatus, KeySummary, KeyVersionSummary } from '../administration.ts'
import { toId } from './use-table.ts'

export interface KeyRow {
  readonly keyStore: string
  readonly keyId: ExternalKeyId
  readonly status: KeyStatus
  readonly canEncrypt: boolean
  readonly canDecrypt: boolean
  readonly currentVersion: number
  readonly createdAt: number
}

export interface VersionRow {
  readonly keyStore: string
  readonly keyId: ExternalKeyId
  readonly version: number
  readonly createdAt: number
  readonly destroyedAt: number | null
  /**
   * Number of encryptions reserved by earlier releases, which kept the count in this row. The table
   * `key_uses` continues the count.
   */
  readonly reservedUses: number
  /** Wrapped material; null if the version was destroyed. */
  readonly material: string | null
}

/** The casts are safe: the row's MAC proves that `writeKey` or `writeVersion` wrote it. */
export function parseKey(row: Row): KeyRow {
  return {
    keyStore: String(column(row, 'key_store')),
    keyId: column(row, 'key_id') as ExternalKeyId,
    status: column(row, 'status') as KeyStatus,
    canEncrypt: column(row, 'can_encrypt') === 1,
    canDecrypt: column(row, 'can_decrypt') === 1,
    currentVersion: Number(column(row, 'current_version')),
    createdAt: Number(column(row, 'created_at')),
  }
}

export function parseVersion(row: Row): VersionRow {
  return {
    keyStore: String(column(row, 'key_store')),
    keyId: column(row, 'key_id') as ExternalKeyId,
    version: Number(column(row, 'version')),
    createdAt: Number(column(row, 'created_at')),
    destroyedAt: column(row, 'destroyed_at') as number | null,
    reservedUses: Number(column(row, 'reserved_uses')),
    material: column(row, 'material') as string | null,
  }
}

function fromKey(key: KeyRow): Row {
  return {
    key_store: key.keyStore,
    key_id: key.keyId,
    status: key.status,
    can_encrypt: key.canEncrypt ? 1 : 0,
    can_decrypt: key.canDecrypt ? 1 : 0,
    current_version: key.currentVersion,
    created_at: key.createdAt,
  }
}

function fromVersion(version: VersionRow): Row {
  return {
    key_store: version.keyStore,
    key_id: version.keyId,
    version: version.version,
    created_at: version.createdAt,
    destroyed_at: version.destroyedAt,
    reserved_uses: version.reservedUses,
    material: version.material,
  }
}

export interface KeyRows {
  readonly keys: readonly KeyRow[]
  readonly versions: readonly VersionRow[]
}

export function parseContents(contents: Pick<StoreContents, 'keys' | 'versions'>): KeyRows {
  return { keys: contents.keys.map(parseKey), versions: contents.versions.map(parseVersion) }
}

/** Reads and writes the tables inside one transaction. */
export class KeyTable {
  readonly #transaction: SealedTransaction
  readonly #sealing: Sealing

  constructor(transaction: SealedTransaction, sealing: Sealing) {
    this.#transaction = transaction
    this.#sealing = sealing
  }

  async findKey(keyStore: string, keyId: string): Promise<KeyRow | undefined> {
    const where = { key_store: keyStore, key_id: keyId }
    const [row] = await selectRows(this.#transaction, this.#sealing, KEYS, where)
    return row === undefined ? undefined : parseKey(row)
  }

  /** @throws BackendError KEY_NOT_FOUND */
  async key(keyStore: string, keyId: string): Promise<KeyRow> {
    const found = await this.findKey(keyStore, keyId)
    if (found === undefined) throw new BackendError('KEY_NOT_FOUND', `there is no key ${keyId}`)
    return found
  }

  /** Returns versions in ascending order. */
  async versions(keyStore: string, keyId: string): Promise<readonly VersionRow[]> {
    const where = { key_store: keyStore, key_id: keyId }
    const rows = await selectRows(this.#transaction, this.#sealing, KEY_VERSIONS, where)
    return rows.map(parseVersion)
  }

  async insertKey(key: KeyRow): Promise<void> {
    await insertRow(this.#transaction, this.#sealing, KEYS, fromKey(key))
  }

  async updateKey(key: KeyRow): Promise<void> {
    await updateRow(this.#transaction, this.#sealing, KEYS, fromKey(key))
  }

  /** Wraps `material` (32 bytes) and stores it as a new version that has not been used yet. */
  async insertVersion(
    at: Pick<VersionRow, 'keyStore' | 'keyId' | 'version' | 'createdAt'>,
    material: Buffer,
  ): Promise<void> {
    const version: VersionRow = {
      ...at,
      destroyedAt: null,
      reservedUses: 0,
      material: this.#sealing.wrap(materialContext(at), material),
    }
    await insertRow(this.#transaction, this.#sealing, KEY_VERSIONS, fromVersion(version))
  }

  async updateVersion(version: VersionRow): Promise<void> {
    await updateRow(this.#transaction, this.#sealing, KEY_VERSIONS, fromVersion(version))
  }
}

/** @param uses the result of `loadUses` */
export function toSummary(
  key: KeyRow,
  versions: readonly VersionRow[],
  uses: ReadonlyMap<string, number>,
): KeySummary {
  return {
    keyId: key.keyId,
    status: key.status,
    canEncrypt: key.canEncrypt,
    canDecrypt: key.canDecrypt,
    createdAt: key.createdAt,
    versions: versions.map((version): KeyVersionSummary => {
      const current = version.version === key.currentVersion
      return {
        version: version.version,
        state: version.material === null ? 'DESTROYED' : current ? 'CURRENT' : 'PREVIOUS',
        createdAt: version.createdAt,
        encryptions: Math.max(version.reservedUses, uses.get(toId(version)) ?? 0),
      }
    }),
  }
}
