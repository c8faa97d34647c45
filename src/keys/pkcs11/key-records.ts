/** The control store's records of keys on tokens: which of them are disabled. */
// SPDX-License-Identifier: Apache-2.0
import type { ExternalKeyId, KeyStoreName } from '../../core/ids.ts'
import { KEYS } from '../../store/sealed-rows.ts'
import type { Store } from '../../store/store.ts'
import { BackendError } from '../errors.ts'
import type { KeyStatus } from '../administration.ts'
import { parseContents } from '../software/key-table.ts'

export interface TokenKeyRecords {
  /**
   * Applies changes in the store. After STORE_TAMPERED, `status` throws until a later reload
   * succeeds.
   * @throws StorageError
   */
  reload(): Promise<void>
  /** Returns ENABLED if there is no record. @throws BackendError UNAVAILABLE */
  status(keyStore: KeyStoreName, keyId: ExternalKeyId): KeyStatus
}

export async function openTokenKeyRecords(store: Store): Promise<TokenKeyRecords> {
  const feed = store.feed(KEYS)
  const disabled = new Set<string>()
  let isTampered = false

  async function reload(): Promise<void> {
    try {
      await feed.update(([change]) => {
        if (change === undefined) return
        if (change.isReset) disabled.clear()
        for (const [keyStore, keyId] of change.removed) {
          disabled.delete(`${String(keyStore)}/${String(keyId)}`)
        }
        const { keys } = parseContents({ keys: change.put, versions: [] })
        for (const { keyStore, keyId, status } of keys) {
          if (status === 'DISABLED') disabled.add(`${keyStore}/${keyId}`)
          else disabled.delete(`${keyStore}/${keyId}`)
        }
      })
      isTampered = false
    } catch (error) {
      isTampered ||= (error as { code?: unknown }).code === 'STORE_TAMPERED'
      throw error
    }
  }

  await reload()
  return {
    reload,
    status(keyStore, keyId) {
      if (isTampered) {
        throw new BackendError('UNAVAILABLE', 'the store was changed outside of Latchkey')
      }
      return disabled.has(`${keyStore}/${keyId}`) ? 'DISABLED' : 'ENABLED'
    },
  }
}
