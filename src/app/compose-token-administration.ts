/** Administration of keys on tokens, whose module is started at the first call and ended with the command. */
// SPDX-License-Identifier: Apache-2.0
import { openBackend } from './create.ts'
import type { KeyAdministration } from '../keys/administration.ts'
import { probeModule } from '../keys/pkcs11/probe-module.ts'
import type { ProbeReport } from '../keys/pkcs11/wire/calls.ts'
import type { Pkcs11Keys } from '../keys/pkcs11/pkcs11-keys.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { KeyStoreName } from '../core/ids.ts'
import type { Config, Pkcs11BackendConfig } from '../config/config.ts'
import type { Store } from '../store/store.ts'

export interface TokenAdministrations {
  /** Undefined for a key store whose keys are not on tokens. */
  of(keyStore: KeyStoreName): KeyAdministration | undefined
  close(): Promise<void>
}

export function createTokenAdministrations(config: Config, store: Store): TokenAdministrations {
  const opened = new Map<string, Promise<Pkcs11Keys>>()

  function open(backend: Pkcs11BackendConfig): Promise<Pkcs11Keys> {
    const known = opened.get(backend.name)
    if (known !== undefined) return known
    const silent = () => undefined
    const keys = openBackend({
      // One process is enough to make a key.
      config: { ...backend, sessions: { min: 1, max: 1 } },
      clock,
      logger: { info: silent, warn: silent },
      selfTest: undefined,
    })
    opened.set(backend.name, keys)
    return keys
  }

  return {
    of(keyStore) {
      const found = config.keyStores.find(({ name }) => name === keyStore)
      const backend = config.backends.find(({ name }) => name === found?.backend)
      if (found === undefined || backend === undefined) return undefined
      const inner = async () =>
        (await open(backend)).administration(keyStore, found.keyPrefix, store)
      return {
        createKey: async (key) => (await inner()).createKey(key),
        listKeys: async () => (await inner()).listKeys(),
        rotateKey: async (keyId) => (await inner()).rotateKey(keyId),
        setKeyStatus: async (keyId, status) => (await inner()).setKeyStatus(keyId, status),
        destroyVersion: async (keyId, version) => (await inner()).destroyVersion(keyId, version),
      }
    },
    async close() {
      for (const outcome of await Promise.allSettled(opened.values())) {
        if (outcome.status === 'fulfilled') outcome.value.close()
      }
    },
  }
}

export type { ProbeReport }

/** @throws BackendError */
export function probeBackend(backend: Pkcs11BackendConfig): Promise<ProbeReport> {
  return probeModule(backend, clock)
}
