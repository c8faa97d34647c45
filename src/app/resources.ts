/**
 * Provides everything that serves requests: the store, keys, key managers and credentials. It also
 * reloads them after changes.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Config } from '../config/config.ts'
import type { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import { collectGarbage } from '../core/garbage.ts'
import { lowerCompilerPriority } from '../core/thread-priority.ts'
import { followKeyDates, type ServedKeyDates } from '../keys/key-dates.ts'
import { loadHighestUses } from '../keys/software/use-table.ts'
import { MAX_USES } from '../keys/software/use-counter.ts'
import { periodic } from '../core/periodic.ts'
import { type SoftwareKeystore, openSoftwareKeystore } from '../keys/software/software-keystore.ts'
import type { Log } from '../observability/log.ts'
import type { ApiSchemas } from '../openapi/schemas.ts'
import { type RetiredVersions, createRetiredVersions } from '../retirement/retired-versions.ts'
import { followCredentials } from '../sigv4/credential-table.ts'
import { type CredentialSnapshot, createCredentialSnapshot } from '../sigv4/credential.ts'
import { isTampered } from '../store/database.ts'
import { type Store, type StoreOptions, openStore } from '../store/store.ts'
import { loadLatestKeys } from '../usage/usage-table.ts'
import { type Backends, openBackends } from './key-backends.ts'
import { toStoreOptions } from './store.ts'

/**
 * Number of most recently used keys to prepare first, before all other keys that were ever used.
 */
const LATEST_KEYS = 10_000
/** A load that reads the store for this many milliseconds leaves much garbage. */
const LONG_READ_MS = 500

/** The resources that a server depends on. */
export interface Resources {
  readonly store: Store
  readonly keystore: SoftwareKeystore
  readonly backends: Backends
  readonly credentials: CredentialSnapshot
  readonly retired: RetiredVersions
  readonly dates: ServedKeyDates
}

interface ResourceDeps extends Pick<StoreOptions, 'onFault'> {
  readonly schemas: ApiSchemas
  readonly log: Log
}

/** `cleanup` closes the resources. @throws StorageError or a system error */
export async function openResources(
  config: Config,
  { schemas, log, onFault }: ResourceDeps,
  cleanup: Cleanup,
): Promise<Resources> {
  const how = { requiresUtf8: true, ...(onFault && { onFault }) }
  const store = await openStore(await toStoreOptions(config, how))
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
  const credentials = createCredentialSnapshot(followCredentials(store))
  await credentials.reload()
  const retired = createRetiredVersions(store)
  await retired.reload()
  const dates = followKeyDates(store, clock)
  await dates.reload()
  // Otherwise, V8 would collect the garbage of a long load during the first requests, which takes
  // more than their deadline.
  if (store.readMs >= LONG_READ_MS) collectGarbage()
  lowerCompilerPriority()
  // This runs in the background, and a request whose key is not ready yet takes precedence.
  void store.database
    .snapshot((reader) => loadLatestKeys(reader, LATEST_KEYS))
    .then((latest) => keystore.warm(latest))
    .catch((error: unknown) => {
      log.logger.warn('could not reserve key uses in advance', { err: error })
    })
  return { store, keystore, backends, credentials, retired, dates }
}

/** Interval in milliseconds for counting key uses. */
const KEY_USES_MS = 300_000

/**
 * Returns a function that returns, for each key store, the share of the key usage limit that its
 * most used key has reached.
 */
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

/** The resources that follow changes in the store. */
export type Reloaded = {
  readonly [Name in 'keystore' | 'backends' | 'retired' | 'dates']: Pick<Resources[Name], 'reload'>
} & { readonly credentials: Pick<CredentialSnapshot, 'reload' | 'forget'> }

/**
 * Dates and retirements are reloaded before the keys, because a key must never be served before its
 * activation date. If a row's authentication code is not valid, nothing that was read from the
 * store earlier is trusted any longer. The keys are reloaded even then, so that the health check
 * reports that nothing is served.
 */
export async function reloadResources(resources: Reloaded): Promise<void> {
  const { keystore, backends, credentials, retired, dates } = resources
  const [failures, limits] = await Promise.all([
    settle([credentials.reload()]),
    settle([retired.reload(), dates.reload()]),
  ])
  failures.push(...limits)
  if (failures.some(isTampered)) credentials.forget()
  if (limits.length === 0 || failures.some(isTampered)) {
    // Reload the keystore last, because it reads the most.
    failures.push(...(await settle([backends.reload(), keystore.reload()])))
  }
  if (failures.length === 0) return
  if (failures.some(isTampered)) credentials.forget()
  const error = failures.find(isTampered) ?? failures[0]
  throw error
}

/** Waits until all promises settle, and returns the reasons of the rejections. */
async function settle(work: readonly Promise<unknown>[]): Promise<unknown[]> {
  const outcomes = await Promise.allSettled(work)
  return outcomes.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []))
}
