/**
 * The software keys of all key stores. They are stored sealed in the control store, and used from
 * memory.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import type { Logger } from '../../core/logger.ts'
import type { KeyStoreName } from '../../core/ids.ts'
import { forEachInSlices, turn } from '../../core/slices.ts'
import { KEY_VERSIONS, KEYS } from '../../store/sealed-tables.ts'
import type { TableChange } from '../../store/feed.ts'
import type { Store } from '../../store/store.ts'
import type { KeyAdministration } from '../administration.ts'
import { BackendError } from '../errors.ts'
import type { KeyBackend } from '../key-backend.ts'
import { createKeyAdministration } from './administration.ts'
import { createSoftwareBackend } from './backend.ts'
import { createHealthCheck, ensureHealthKey } from './health-key.ts'
import type { VersionRow } from './key-table.ts'
import { applyRows, type LoadedKey, type LoadedVersion, type Snapshot } from './snapshot.ts'
import { BLOCK_USES, MAX_USES, UseCounter, warnNearLimit } from './use-counter.ts'
import { createUseReservations } from './use-reservations.ts'

export interface SoftwareKeystore {
  /**
   * Applies changes in the store. After STORE_TAMPERED, every backend refuses all requests until a
   * later reload succeeds, because the store cannot be trusted.
   * @throws StorageError
   */
  reload(): Promise<void>
  backend(keyStore: KeyStoreName): KeyBackend
  administration(keyStore: KeyStoreName): KeyAdministration
  /**
   * Reserves uses for keys that were used before, so that their first encryption does not wait for
   * the disk.
   * @param latest keys to prepare first, most recently used first
   */
  warm(latest: readonly { readonly keyStore: string; readonly keyId: string }[]): Promise<void>
  close(): Promise<void>
}

export interface SoftwareKeystoreDeps {
  readonly store: Store
  readonly clock: Clock
  /** Product version, shown in health reports. */
  readonly version: string
  readonly logger: Logger
  /** Number of uses per block and maximum number of uses per version; set by tests only. */
  readonly uses?: { readonly blockUses: number; readonly maxUses: number }
}

/**
 * Maximum number of keys to prepare at startup. The first encryption with any other key waits for
 * the disk.
 */
const MAX_WARM = 20_000
/** Number of keys that are looked up in one turn of the event loop. */
const NAMES_PER_TURN = 1000
/** Number of keys whose uses are reserved with one statement. */
const RESERVED_AT_ONCE = 200
/** Number of keys that are tested before a pause. Each test takes a fraction of a millisecond. */
const TESTED_AT_ONCE = 10
const TEST_PAUSE_MS = 10

export async function openSoftwareKeystore(deps: SoftwareKeystoreDeps): Promise<SoftwareKeystore> {
  const { store, clock } = deps
  const limits = deps.uses ?? { blockUses: BLOCK_USES, maxUses: MAX_USES }
  const reservations = createUseReservations(store, limits.maxUses)
  const feed = store.feed(KEYS, KEY_VERSIONS)
  let snapshot: Snapshot = new Map()
  let isClosed = false
  /** The reason every request is refused; undefined while requests are served. */
  let refusal: string | undefined

  function createUses(row: VersionRow): UseCounter {
    const { keyStore, keyId: key, version, reservedUses: floor } = row
    const at = { keyStore, keyId: key, version, floor }
    return new UseCounter({
      ...limits,
      reserve: (count, isUrgent) => reservations.reserve(at, count, isUrgent),
      onNearLimit: warnNearLimit(deps.logger, at, limits.maxUses),
    })
  }

  /** Keys and versions are never deleted, so changes only add or replace rows. */
  async function apply(changes: readonly TableChange[]): Promise<void> {
    const rowsOf = (table: TableChange['table']) =>
      changes.find((change) => change.table === table)?.put ?? []
    const rows = { keys: rowsOf(KEYS), versions: rowsOf(KEY_VERSIONS) }
    const next: Snapshot = changes.some(({ isReset }) => isReset)
      ? new Map<string, Map<string, LoadedKey>>()
      : snapshot
    const deps = { sealing: store.sealing, createUses }
    await applyRows({ snapshot: next, before: snapshot }, rows, deps)
    snapshot = next
  }

  async function reload(): Promise<void> {
    try {
      await feed.update(apply)
      refusal = undefined
    } catch (error) {
      // If the store does not respond, the contents that were read last stay valid. If it was
      // tampered with, they do not.
      if ((error as { code?: unknown }).code === 'STORE_TAMPERED') {
        refusal = 'the store was changed outside of Latchkey'
      }
      throw error
    }
  }

  const checkHealth = createHealthCheck(store, clock)
  await ensureHealthKey(store, clock)
  await reload()
  return {
    reload,
    backend: (keyStore) =>
      createSoftwareBackend({
        ...{ store, clock, keyStore, checkHealth },
        model: `Latchkey software keystore ${deps.version}`,
        keys: () => {
          if (refusal !== undefined) throw new BackendError('UNAVAILABLE', refusal)
          return snapshot.get(keyStore)
        },
      }),
    async warm(latest) {
      const everUsed = await reservations.readAhead(MAX_WARM)
      const wanted = new Set<LoadedVersion>()
      await forEachInSlices([...latest, ...everUsed], NAMES_PER_TURN, ({ keyStore, keyId }) => {
        const key = snapshot.get(keyStore)?.get(keyId)
        const version = key?.versions.get(key.row.currentVersion)
        if (version !== undefined && wanted.size < MAX_WARM) wanted.add(version)
      })
      const versions = [...wanted]
      for (let at = 0; at < versions.length; at += RESERVED_AT_ONCE) {
        const some = versions.slice(at, at + RESERVED_AT_ONCE)
        await Promise.all(some.map(({ uses }) => uses.warm()))
        await turn()
      }
      // Test the keys second, because a request tests its key faster than it reserves uses. The
      // pauses leave most of the processor to requests.
      for (const [i, version] of versions.entries()) {
        if (i % TESTED_AT_ONCE === 0) await pause(TEST_PAUSE_MS)
        if (isClosed) return
        await version.withKey(() => undefined)
      }
    },
    administration: (keyStore) => createKeyAdministration(store, keyStore, clock),
    close() {
      isClosed = true
      refusal = 'the software keystore is closed'
      snapshot = new Map()
      return Promise.resolve()
    },
  }
}
