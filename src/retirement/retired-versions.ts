/**
 * Caches the versions that refuse Decrypt because they are being retired, and refreshes the cache
 * at each new epoch.
 */
// SPDX-License-Identifier: Apache-2.0
import { RETIREMENTS } from '../store/sealed-tables.ts'
import type { Store } from '../store/store.ts'
import { parseRetirement, type VersionName } from './retirement-table.ts'

export interface RetiredVersions {
  /**
   * Applies changes from the store.
   * @throws StorageError, in which case versions that are already refused stay refused
   */
  reload(): Promise<void>
  has(keyStore: string, keyId: string, version: number): boolean
}

const toId = ({ keyStore, keyId, version }: VersionName) =>
  `${keyStore} ${keyId} ${String(version)}`

export function createRetiredVersions(store: Pick<Store, 'feed'>): RetiredVersions {
  const feed = store.feed(RETIREMENTS)
  const refused = new Set<string>()
  return {
    reload: () =>
      feed.update((changes) => {
        for (const { put, removed, isReset } of changes) {
          if (isReset) refused.clear()
          for (const one of put.map(parseRetirement)) {
            if (one.approval !== undefined) refused.add(toId(one))
          }
          for (const [keyStore, keyId, version] of removed) {
            refused.delete([keyStore, keyId, version].map(String).join(' '))
          }
        }
      }),
    has: (keyStore, keyId, version) =>
      refused.size > 0 && refused.has(toId({ keyStore, keyId, version })),
  }
}
