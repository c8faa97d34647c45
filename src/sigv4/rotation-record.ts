/** How far the rotation of a key store's credential has come: a fact of the store, so any host goes on. */
// SPDX-License-Identifier: Apache-2.0
import type { Store } from '../store/store.ts'

export interface RotationRecord {
  readonly region: string
  readonly customKeyStoreId: string
  readonly keyStore: string
  /** The one that KMS had when the rotation began. */
  readonly oldAccessKeyId: string
  /** Wall time, milliseconds since the Unix epoch, as below. */
  readonly startedAt: number
  /** There once the new credential is made. */
  readonly newAccessKeyId?: string
  /** There once KMS has it. */
  readonly givenAt?: number
}

export interface RotationRecords {
  find(region: string, customKeyStoreId: string): Promise<RotationRecord | undefined>
  save(record: RotationRecord): Promise<void>
  /** The rotation is over. */
  remove(record: RotationRecord): Promise<void>
}

type Name = Pick<RotationRecord, 'region' | 'customKeyStoreId'>

const nameOf = ({ region, customKeyStoreId }: Name) => `rotation ${region} ${customKeyStoreId}`

/** Names and times only: whoever could change them could change the credentials' rows just as well, and cannot. */
export function createRotationRecords({ database }: Store): RotationRecords {
  return {
    find: (region, customKeyStoreId) =>
      database.snapshot(async (reader) => {
        const rows = await reader.query('SELECT value FROM facts WHERE name = ?', [
          nameOf({ region, customKeyStoreId }),
        ])
        const value = rows[0]?.['value']
        return typeof value === 'string' ? (JSON.parse(value) as RotationRecord) : undefined
      }),
    save: (record) =>
      database.transaction(async (transaction) => {
        await transaction.execute(
          'INSERT INTO facts (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value',
          [nameOf(record), JSON.stringify(record)],
        )
      }),
    remove: (record) =>
      database.transaction(async (transaction) => {
        await transaction.execute('DELETE FROM facts WHERE name = ?', [nameOf(record)])
      }),
  }
}
