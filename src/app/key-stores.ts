/** The key stores that a server serves. A reload of the configuration can change them. */
// SPDX-License-Identifier: Apache-2.0
import { isDeepStrictEqual } from 'node:util'
import type { KeyStoreConfig } from '../config/config.ts'
import { systemClock as clock } from '../core/clock.ts'
import { enforceContract } from '../keys/contract.ts'
import type { ServedKeyDates } from '../keys/key-dates.ts'
import type { Fleet } from '../killswitch/instance/fleet-size.ts'
import type { Log } from '../observability/log.ts'
import type { RetiredVersions } from '../retirement/retired-versions.ts'
import type { CredentialSnapshot } from '../sigv4/credential.ts'
import { createHealthProbe } from '../xks/health-probe.ts'
import type { KeyStore } from '../xks/key-store.ts'
import { createQuota, unlimited } from '../xks/quota.ts'
import { API_ROOT } from '../xks/route.ts'
import type { Backends } from './key-backends.ts'

export interface KeyStoreDeps {
  readonly backends: Backends
  readonly credentials: CredentialSnapshot
  readonly retired: RetiredVersions
  readonly dates: ServedKeyDates
  readonly log: Log
  readonly fleet: () => Fleet
  readonly healthIntervalMs: number
}

export interface ServedKeyStores {
  all(): readonly KeyStore[]
  find(uriPath: string): KeyStore | undefined
  configs(): readonly KeyStoreConfig[]
  /**
   * Serves these key stores from now on. Unchanged ones keep their state. Requests in progress
   * finish with the key store that they started with.
   * @returns names of key stores that need a restart because their key manager is not open; the old
   * key store of that name stays in use
   */
  apply(next: readonly KeyStoreConfig[]): Promise<readonly string[]>
  stop(): Promise<void>
}

interface Served {
  readonly config: KeyStoreConfig
  readonly keyStore: KeyStore
}

/** @throws if a key store cannot be started; no key store is then left running */
export async function serveKeyStores(
  first: readonly KeyStoreConfig[],
  deps: KeyStoreDeps,
): Promise<ServedKeyStores> {
  let served: readonly Served[] = []
  let byPath: ReadonlyMap<string, KeyStore> = new Map()

  async function apply(next: readonly KeyStoreConfig[]): Promise<readonly string[]> {
    const skipped: string[] = []
    const fresh: Served[] = []
    const result: Served[] = []
    try {
      for (const config of next) {
        const old = served.find((one) => one.config.name === config.name)
        if (old !== undefined && isDeepStrictEqual(old.config, config)) result.push(old)
        else if (!deps.backends.isOpen(config.backend)) {
          skipped.push(config.name)
          if (old !== undefined) result.push(old)
        } else {
          const one = { config, keyStore: createKeyStore(config, deps) }
          fresh.push(one)
          result.push(one)
        }
      }
      // All key stores are checked concurrently, so that key stores with the same backend share a
      // check.
      await Promise.all(fresh.map(({ keyStore }) => keyStore.health.start()))
    } catch (error) {
      await stopAll(fresh)
      throw error
    }
    const gone = served.filter((one) => !result.includes(one))
    served = result
    byPath = new Map(result.map(({ keyStore }) => [keyStore.uriPath, keyStore]))
    await stopAll(gone)
    return skipped
  }

  await apply(first)
  return {
    all: () => served.map(({ keyStore }) => keyStore),
    find: (uriPath) => byPath.get(uriPath),
    configs: () => served.map(({ config }) => config),
    apply,
    stop: () => stopAll(served),
  }
}

async function stopAll(served: readonly Served[]): Promise<void> {
  await Promise.all(served.map(({ keyStore }) => keyStore.health.stop()))
}

/** Timeout for a health check. It is longer than the timeout of a store statement. */
const HEALTH_TIMEOUT_MS = 6000

function createKeyStore(one: KeyStoreConfig, deps: KeyStoreDeps): KeyStore {
  const { backend: own, verifyEveryEncrypt } = deps.backends.of(one)
  const backend = enforceContract(own, (keyId) => deps.dates.stateOf(one.name, keyId))
  const { logger } = deps.log
  return {
    name: one.name,
    uriPath: `${one.prefix}${API_ROOT}`,
    regions: one.regions,
    credentials: deps.credentials.lookup(one.name),
    quota:
      one.quota === undefined
        ? unlimited
        : createQuota(one.quota, clock, () => deps.fleet().instances),
    backend,
    verifyEveryEncrypt,
    accept: one.accept,
    isRetired: (keyId, version) => deps.retired.has(one.name, keyId, version),
    health: createHealthProbe({
      backend,
      clock,
      intervalMs: deps.healthIntervalMs,
      timeoutMs: HEALTH_TIMEOUT_MS,
      onChange: (_before, managers) => {
        const usable = managers.every((manager) => manager.status === 'ACTIVE')
        const fields = { keyStore: one.name, managers }
        if (usable) logger.info('all key managers are healthy', fields)
        else logger.warn('some key managers are not healthy', fields)
      },
    }),
  }
}
