/**
 * Records the progress of a credential rotation in the store, so that any host can continue the
 * rotation.
 */
// SPDX-License-Identifier: Apache-2.0
import { findSealedFact } from '../store/sealed-rows.ts'
import { FACTS } from '../store/sealed-tables.ts'
import { deleteRow, putRow } from '../store/sealed-transaction.ts'
import type { Store } from '../store/store.ts'

export interface RotationRecord {
  readonly region: string
  readonly customKeyStoreId: string
  readonly keyStore: string
  /** The credential that KMS had when the rotation began. */
  readonly oldAccessKeyId: string
  /** Wall time in milliseconds since the Unix epoch, like `givenAt`. */
  readonly startedAt: number
  /** Set once the new credential is created. */
  readonly newAccessKeyId?: string
  /** Set once KMS has the new credential. */
  readonly givenAt?: number
}

export interface RotationRecords {
  find(region: string, customKeyStoreId: string): Promise<RotationRecord | undefined>
  save(record: RotationRecord): Promise<void>
  /** Deletes the record, which ends the rotation. */
  remove(record: RotationRecord): Promise<void>
}

type Name = Pick<RotationRecord, 'region' | 'customKeyStoreId'>

const nameOf = ({ region, customKeyStoreId }: Name) => `rotation ${region} ${customKeyStoreId}`

/**
 * Stores rotations as sealed records that hold only names and times. A record cannot be changed
 * without the store's key.
 */
export function createRotationRecords(store: Store): RotationRecords {
  const { database, sealing } = store
  return {
    async find(region, customKeyStoreId) {
      const name = nameOf({ region, customKeyStoreId })
      const value = await database.snapshot((reader) => findSealedFact(reader, sealing, name))
      return value === undefined ? undefined : (JSON.parse(value) as RotationRecord)
    },
    save: (record) =>
      store.change(async (transaction) => {
        const fact = { name: nameOf(record), value: JSON.stringify(record) }
        await putRow(transaction, sealing, FACTS, fact)
      }),
    remove: (record) =>
      store.change((transaction) =>
        deleteRow(transaction, sealing, FACTS, { name: nameOf(record) }),
      ),
  }
}
