/** Software keys of all key stores: kept sealed in the control store, used from memory. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import type { KeyStoreName } from '../../core/ids.ts'
import { KEY_VERSIONS, KEYS } from '../../store/sealed-rows.ts'
import type { Store } from '../../store/store.ts'
import type { KeyAdministration } from '../administration.ts'
import { BackendError } from '../errors.ts'
import type { KeyBackend } from '../key-backend.ts'
import { createKeyAdministration } from './administration.ts'
import { createSoftwareBackend } from './backend.ts'
import { ensureHealthKey } from './health-key.ts'
import { type VersionRow, parseContents } from './key-table.ts'
import { type Snapshot, loadSnapshot } from './snapshot.ts'
import { BLOCK_USES, MAX_USES, UseCounter } from './use-counter.ts'
import { createUseReservations, loadUsedKeys } from './use-reservations.ts'

export interface SoftwareKeystore {
  /**
   * Takes up what changed in the store. When that fails with STORE_TAMPERED, every backend refuses
   * until a later reload succeeds: nothing that such a store says can be trusted.
   * @throws StorageError
   */
  reload(): Promise<void>
  backend(keyStore: KeyStoreName): KeyBackend
  administration(keyStore: KeyStoreName): KeyAdministration
  /**
   * Sets uses aside for keys that were used before, so that their first encryption waits for no disk.
   * @param latest those that come first, the most recently used before all others
   */
  warm(latest: readonly { readonly keyStore: string; readonly keyId: string }[]): Promise<void>
  close(): Promise<void>
}

export interface SoftwareKeystoreDeps {
  readonly store: Store
  readonly clock: Clock
  /** Product version, for the model in health reports. */
  readonly version: string
  readonly logger: Logger
  /** For tests: encryptions per block and per version. */
  readonly uses?: { readonly blockUses: number; readonly maxUses: number }
}

/** Keys that are made ready at the start; of more, the first encryption waits for the disk. */
const MAX_WARM = 20_000

export async function openSoftwareKeystore(deps: SoftwareKeystoreDeps): Promise<SoftwareKeystore> {
  const { store, clock } = deps
  const limits = deps.uses ?? { blockUses: BLOCK_USES, maxUses: MAX_USES }
  const reservations = createUseReservations(store, limits.maxUses)
  let snapshot: Snapshot = new Map()
  /** Set: nothing is served. */
  let refusal: string | undefined

  function createUses(row: VersionRow): UseCounter {
    const { keyStore, keyId: key, version, reservedUses: floor } = row
    const at = { keyStore, keyId: key, version, floor }
    return new UseCounter({
      ...limits,
      reserve: (count, isUrgent) => reservations.reserve(at, count, isUrgent),
      onNearLimit: (encryptions) => {
        deps.logger.warn('a key version nears its last encryption: rotate the key', {
          keyStore,
          keyId: key,
          keyVersion: version,
          encryptions,
          limit: limits.maxUses,
        })
      },
    })
  }

  async function reload(): Promise<void> {
    try {
      const [keys = [], versions = []] = await store.tables(KEYS, KEY_VERSIONS)
      const rows = parseContents({ keys, versions })
      snapshot = await loadSnapshot(rows, snapshot, { sealing: store.sealing, createUses })
      refusal = undefined
    } catch (error) {
      // A store that does not answer is no reason to forget what it said; one that was changed is.
      if ((error as { code?: unknown }).code === 'STORE_TAMPERED') {
        refusal = 'the store was changed outside of Latchkey'
      }
      throw error
    }
  }

  await ensureHealthKey(store, clock)
  await reload()
  return {
    reload,
    backend: (keyStore) =>
      createSoftwareBackend({
        store,
        clock,
        keyStore,
        model: `Latchkey software keystore ${deps.version}`,
        keys: () => {
          if (refusal !== undefined) throw new BackendError('UNAVAILABLE', refusal)
          return snapshot.get(keyStore)
        },
      }),
    async warm(latest) {
      const everUsed = await store.database.snapshot((reader) => loadUsedKeys(reader, MAX_WARM))
      const versions = [...latest, ...everUsed].flatMap(({ keyStore, keyId }) => {
        const key = snapshot.get(keyStore)?.get(keyId)
        return key?.versions.get(key.row.currentVersion) ?? []
      })
      const wanted = [...new Set(versions)].slice(0, MAX_WARM)
      const warming = Promise.all(wanted.map(({ uses }) => uses.warm()))
      warming.catch(() => undefined)
      // One by one: each is tested, which takes a part of a millisecond.
      for (const { withKey } of wanted) await withKey(() => undefined)
      await warming
    },
    administration: (keyStore) => createKeyAdministration(store, keyStore, clock),
    close() {
      refusal = 'the software keystore is closed'
      snapshot = new Map()
      return Promise.resolve()
    },
  }
}
