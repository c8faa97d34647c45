/** Opens the configured key managers, and assigns each key store its backend. */
// SPDX-License-Identifier: Apache-2.0
import type { Config, KeyStoreConfig } from '../config/config.ts'
import { SOFTWARE } from '../config/sections/backends.ts'
import { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import { enforceContract } from '../keys/contract.ts'
import type { KeyBackend } from '../keys/key-backend.ts'
import { openTokenKeyRecords } from '../keys/pkcs11/key-records.ts'
import type { Pkcs11Keys, Pkcs11KeysDeps } from '../keys/pkcs11/pkcs11-keys.ts'
import { type SoftwareKeystore, openSoftwareKeystore } from '../keys/software/software-keystore.ts'
import { silentLogger } from '../core/logger.ts'
import { type Log, createLog } from '../observability/log.ts'
import { VERSION as version } from '../openapi/document.gen.ts'
import { type Store, openStore } from '../store/store.ts'
import { toStoreOptions } from './store.ts'

export interface Backends {
  /**
   * Reports whether the backend with this name is open, so that key stores can use it. The embedded
   * backend is always open.
   */
  isOpen(name: string): boolean
  of(keyStore: KeyStoreConfig): {
    readonly backend: KeyBackend
    readonly verifyEveryEncrypt: boolean
  }
  /** Returns statistics by backend name. */
  stats(): ReadonlyMap<string, ReturnType<Pkcs11Keys['stats']>>
  /** Applies PINs that have changed. */
  setPins(backends: Config['backends']): void
  /** Applies changes in the store. @throws StorageError */
  reload(): Promise<void>
  close(): Promise<void>
}

/** Number of bytes that Latchkey adds to KMS's AAD for length fields and its own metadata. */
const AAD_FRAME_BYTES = 2 + 1 + 5

/** Opens only the backends that a key store uses. @throws BackendError MISCONFIGURED */
export async function openBackends(
  config: Config,
  parts: { readonly store: Store; readonly keystore: SoftwareKeystore; readonly log: Log },
): Promise<Backends> {
  const { logger } = parts.log
  const used = config.backends.filter(({ name }) =>
    config.keyStores.some(({ backend }) => backend === name),
  )
  const records =
    used.length === 0 ? undefined : await openTokenKeyRecords({ store: parts.store, clock, logger })
  const opened = new Map<string, Pkcs11Keys>()
  const close = async () => {
    await records?.close()
    for (const keys of opened.values()) keys.close()
  }
  try {
    for (const one of used) {
      const keys = await openBackend({
        config: one,
        clock,
        logger,
        selfTest: {
          plaintextBytes: config.limits.maxPlaintextBytes,
          aadBytes: config.limits.maxAadBytes + AAD_FRAME_BYTES,
        },
      })
      opened.set(one.name, keys)
    }
  } catch (error) {
    await close()
    throw error
  }
  const isOpen = (name: string) => name === SOFTWARE || opened.has(name)
  return {
    isOpen,
    of(keyStore) {
      if (!isOpen(keyStore.backend))
        throw new TypeError(`the backend ${keyStore.backend} is not open`)
      const keys = opened.get(keyStore.backend)
      if (keys === undefined || records === undefined) {
        return { backend: parts.keystore.backend(keyStore.name), verifyEveryEncrypt: false }
      }
      const found = used.find(({ name }) => name === keyStore.backend)
      const ownRecords = records.of(keyStore.name, found?.iv === 'host')
      return {
        backend: keys.backend(keyStore.keyPrefix, ownRecords),
        verifyEveryEncrypt: found?.verifyEveryEncrypt ?? true,
      }
    },
    stats: () => new Map([...opened].map(([name, keys]) => [name, keys.stats()])),
    setPins(backends) {
      for (const { name, tokens } of backends)
        opened.get(name)?.setPins(tokens.map(({ pin }) => pin))
    },
    async reload() {
      await records?.reload()
    },
    close,
  }
}

/** @throws BackendError MISCONFIGURED, including when pkcs11js is not built */
export async function openBackend(deps: Pkcs11KeysDeps): Promise<Pkcs11Keys> {
  const { openPkcs11Keys } = await import('../keys/pkcs11/pkcs11-keys.ts')
  return openPkcs11Keys(deps)
}

interface OpenKeyBackend {
  readonly backend: KeyBackend
  close(): Promise<void>
}

const STANDARD_ERROR = 2

/** @throws StorageError, BackendError */
export async function openKeyBackend(
  config: Config,
  keyStore: KeyStoreConfig,
): Promise<OpenKeyBackend> {
  const cleanup = new Cleanup()
  try {
    const log = createLog({ ...config.logging, level: 'error' }, STANDARD_ERROR, {
      ...{ version, instanceId: '' },
    })
    cleanup.add(log.close)
    const store = await openStore(await toStoreOptions(config))
    cleanup.add(() => store.close())
    const keystore = await openSoftwareKeystore({ store, clock, version, logger: silentLogger })
    cleanup.add(() => keystore.close())
    const backends = await openBackends(
      { ...config, keyStores: [keyStore] },
      { store, keystore, log },
    )
    cleanup.add(backends.close)
    return {
      backend: enforceContract(backends.of(keyStore).backend),
      close: () => cleanup.run(),
    }
  } catch (error) {
    await cleanup.run().catch(() => undefined)
    throw error
  }
}
