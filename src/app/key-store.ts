/** One key store of the configuration, with what serves it. */
// SPDX-License-Identifier: Apache-2.0
import type { Config, KeyStoreConfig } from '../config/config.ts'
import { systemClock as clock } from '../core/clock.ts'
import { enforceContract } from '../keys/contract.ts'
import type { Fleet } from '../killswitch/instance/fleet-size.ts'
import type { Log } from '../observability/log.ts'
import type { CredentialSnapshot } from '../sigv4/credential.ts'
import { createHealthProbe } from '../xks/health-probe.ts'
import type { KeyStore } from '../xks/key-store.ts'
import { createQuota, unlimited } from '../xks/quota.ts'
import { API_ROOT } from '../xks/route.ts'
import type { Backends } from './key-backends.ts'

/** A health check slower than this counts as failed; longer than a statement of the store may take. */
const HEALTH_TIMEOUT_MS = 6000
export function createKeyStore(
  config: Config,
  one: KeyStoreConfig,
  parts: {
    readonly backends: Backends
    readonly credentials: CredentialSnapshot
    readonly log: Log
    readonly fleet: () => Fleet
  },
): KeyStore {
  const { backend: own, verifyEveryEncrypt } = parts.backends.of(one)
  const backend = enforceContract(own)
  return {
    name: one.name,
    uriPath: `${one.prefix}${API_ROOT}`,
    regions: one.regions,
    credentials: parts.credentials.lookup(one.name),
    quota:
      one.quota === undefined
        ? unlimited
        : createQuota(one.quota, clock, () => parts.fleet().instances),
    backend,
    verifyEveryEncrypt,
    accept: one.accept,
    health: createHealthProbe({
      backend,
      clock,
      intervalMs: config.health.intervalMs,
      timeoutMs: HEALTH_TIMEOUT_MS,
      onChange: (_before, managers) => {
        const usable = managers.every((manager) => manager.status === 'ACTIVE')
        const fields = { keyStore: one.name, managers }
        if (usable) parts.log.logger.info('key managers are healthy', fields)
        else parts.log.logger.warn('key managers are not all healthy', fields)
      },
    }),
  }
}
