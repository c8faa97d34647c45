/**
 * Provides everything that serves requests: store, keys, key managers and credentials, and the
 * reloading of changes.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Config } from '../config/config.ts'
import type { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import { loadHighestUses } from '../keys/software/use-reservations.ts'
import { MAX_USES } from '../keys/software/use-counter.ts'
import { periodic } from '../core/periodic.ts'
import { type SoftwareKeystore, openSoftwareKeystore } from '../keys/software/software-keystore.ts'
import type { Log } from '../observability/log.ts'
import type { ApiSchemas } from '../openapi/schemas.ts'
import { type RetiredVersions, createRetiredVersions } from '../retirement/retired-versions.ts'
import { createCredentialTable } from '../sigv4/credential-table.ts'
import { type CredentialSnapshot, createCredentialSnapshot } from '../sigv4/credential.ts'
import { StorageError } from '../store/database.ts'
import { type Store, openStore } from '../store/store.ts'
import { loadLatestKeys } from '../usage/usage-table.ts'
import { type Backends, openBackends } from './key-backends.ts'
import { toStoreOptions } from './store.ts'

/**
 * Number of keys prepared first, in the order of their last use, before all others that were ever
 * used.
 */
const LATEST_KEYS = 10_000

/** The resources that a server depends on. */
export interface Resources {
  readonly store: Store
  readonly keystore: SoftwareKeystore
  readonly backends: Backends
  readonly credentials: CredentialSnapshot
  readonly retired: RetiredVersions
}

/** `cleanup` closes the resources. @throws StorageError or a system error */
export async function openResources(
  config: Config,
  schemas: ApiSchemas,
  log: Log,
  cleanup: Cleanup,
): Promise<Resources> {
  const store = await openStore(await toStoreOptions(config, { requiresUtf8: true }))
  cleanup.add(() => store.close())
  const keystore = await openSoftwareKeystore({
    store,
    clock,
    version: schemas.version,
    logger: log.logger,
  })
  cleanup.add(() => keystore.close())
  const backends = await openBackends(config, { store, keystore, log })
  cleanup.add(backends.close)
  const table = createCredentialTable(store, clock)
  const credentials = createCredentialSnapshot(() => table.loadActive())
  await credentials.reload()
  const retired = createRetiredVersions(store)
  await retired.reload()
  // Runs in the background: a request whose key is not ready yet takes precedence.
  void store.database
    .snapshot((reader) => loadLatestKeys(reader, LATEST_KEYS))
    .then((latest) => keystore.warm(latest))
    .catch((error: unknown) => {
      log.logger.warn('uses of keys could not be reserved in advance', { err: error })
    })
  return { store, keystore, backends, credentials, retired }
}

/** Interval for counting uses of keys. */
const KEY_USES_MS = 300_000

/** Returns the share of the limit that the most used key of each key store has reached. */
export function watchKeyUses(
  { database }: Pick<Store, 'database'>,
  cleanup: Cleanup,
): () => ReadonlyMap<string, number> {
  let shares: ReadonlyMap<string, number> = new Map()
  const work = async () => {
    const uses = await database.snapshot(loadHighestUses)
    shares = new Map([...uses].map(([keyStore, count]) => [keyStore, count / MAX_USES]))
  }
  void work().catch(() => undefined)
  const watch = periodic({ intervalMs: KEY_USES_MS, work, onError: () => undefined })
  cleanup.add(() => watch.stop())
  return () => shares
}

/**
 * A row without its authentication code ends all trust in the store's earlier contents. Keys are
 * reloaded even if credentials could not be, so that health reports that neither is served.
 */
export async function reloadResources({
  keystore,
  backends,
  credentials,
  retired,
}: Resources): Promise<void> {
  const outcomes = await Promise.allSettled([
    credentials.reload(),
    keystore.reload(),
    backends.reload(),
    retired.reload(),
  ])
  for (const outcome of outcomes) {
    if (outcome.status === 'fulfilled') continue
    const error: unknown = outcome.reason
    if (error instanceof StorageError && error.code === 'STORE_TAMPERED') credentials.forget()
    throw error
  }
}
