/**
 * The control store's records of keys on tokens: which keys are disabled, and which check value
 * identifies each version.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { ExternalKeyId, KeyStoreName } from '../../core/ids.ts'
import type { Logger } from '../../core/logger.ts'
import { forEachInSlices } from '../../core/slices.ts'
import type { TableChange } from '../../store/feed.ts'
import { KEYS, TOKEN_KEYS } from '../../store/sealed-tables.ts'
import type { Store } from '../../store/store.ts'
import { BackendError } from '../errors.ts'
import type { KeyStatus } from '../administration.ts'
import { parseKey } from '../software/key-table.ts'
import type { UseCounter } from '../software/use-counter.ts'
import { createUseCounters, type UseLimits } from './use-counters.ts'
import type { KeyName } from './token-key-table.ts'
import { TrustedKeys, type SeenVersion } from './trusted-keys.ts'

/** The records of one key store. */
export interface KeyStoreRecords {
  /** Returns ENABLED if there is no record. @throws BackendError UNAVAILABLE */
  status(keyId: ExternalKeyId): KeyStatus
  /** Records versions that have not been seen before. Never throws. */
  see(keyId: ExternalKeyId, versions: readonly SeenVersion[]): void
  /** @throws BackendError KEY_REPLACED */
  check(keyId: ExternalKeyId, version: SeenVersion): void
  /** @throws BackendError KEY_REPLACED */
  checkNewest(keyId: ExternalKeyId, current: number): void
  /** Returns the counter of a version's encryptions; undefined if encryptions are not counted. */
  uses(keyId: ExternalKeyId, version: number): UseCounter | undefined
  /** Returns the recorded versions. */
  versions(keyId: ExternalKeyId): readonly number[]
  /** Reports whether these are exactly the recorded versions. */
  isAsRecorded(keyId: ExternalKeyId, versions: readonly SeenVersion[]): boolean
  /** Calls `listener` for each key whose versions were recorded, trusted or destroyed. */
  onChange(listener: (keyId: ExternalKeyId) => void): void
}

export interface TokenKeyRecords {
  /**
   * Applies changes in the store. After STORE_TAMPERED, `status` throws until a later reload
   * succeeds.
   * @throws StorageError
   */
  reload(): Promise<void>
  /**
   * @param countsUses whether to count and limit encryptions, as is necessary if Latchkey draws the
   * IVs
   */
  of(keyStore: KeyStoreName, countsUses: boolean): KeyStoreRecords
  close(): Promise<void>
}

/** Number of rows applied in one turn of the event loop. */
const SLICE = 100

export async function openTokenKeyRecords(deps: {
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
  /** For tests. */
  readonly uses?: UseLimits
}): Promise<TokenKeyRecords> {
  const counters = createUseCounters(deps, deps.uses)
  const feed = deps.store.feed(KEYS, TOKEN_KEYS)
  let disabled = new Set<string>()
  let isTampered = false
  let reloading: Promise<void> = Promise.resolve()
  const listeners: ((name: KeyName) => void)[] = []
  const trusted = new TrustedKeys({ ...deps, reload })

  /** Until a reset has been applied completely, disabled keys stay disabled. */
  async function applyStatuses({ put, removed, isReset }: TableChange): Promise<void> {
    const next = isReset ? new Set<string>() : disabled
    for (const [keyStore, keyId] of removed) {
      next.delete(`${String(keyStore)}/${String(keyId)}`)
    }
    await forEachInSlices(put, SLICE, (row) => {
      const { keyStore, keyId, status } = parseKey(row)
      if (status === 'DISABLED') next.add(`${keyStore}/${keyId}`)
      else next.delete(`${keyStore}/${keyId}`)
    })
    disabled = next
  }

  async function update(): Promise<void> {
    const changed: KeyName[] = []
    try {
      await feed.update(async (changes) => {
        for (const change of changes) {
          if (change.table === KEYS) await applyStatuses(change)
          else changed.push(...(await trusted.apply(change)))
        }
      })
      await forEachInSlices(changed, SLICE, (name) => {
        for (const listener of listeners) listener(name)
      })
      isTampered = false
    } catch (error) {
      isTampered ||= (error as { code?: unknown }).code === 'STORE_TAMPERED'
      throw error
    }
  }

  /** Reloads run sequentially, because updates of the store's change feed must not overlap. */
  function reload(): Promise<void> {
    const turn = reloading.then(update)
    reloading = turn.catch(() => undefined)
    return turn
  }

  await reload()
  return {
    reload,
    of: (keyStore, countsUses) => ({
      status(keyId) {
        if (isTampered) {
          throw new BackendError('UNAVAILABLE', 'the store was changed outside of Latchkey')
        }
        return disabled.has(`${keyStore}/${keyId}`) ? 'DISABLED' : 'ENABLED'
      },
      see: (keyId, versions) => {
        trusted.see(keyStore, keyId, versions)
      },
      check: (keyId, version) => {
        trusted.check(keyStore, keyId, version)
      },
      checkNewest: (keyId, current) => {
        trusted.checkNewest(keyStore, keyId, current)
      },
      uses: (keyId, version) => (countsUses ? counters(keyStore, keyId, version) : undefined),
      versions: (keyId) => trusted.versions({ keyStore, keyId }),
      isAsRecorded: (keyId, versions) => trusted.isAsRecorded({ keyStore, keyId }, versions),
      onChange(listener) {
        listeners.push((name) => {
          if (name.keyStore === keyStore) listener(name.keyId)
        })
      },
    }),
    close: () => trusted.close(),
  }
}
