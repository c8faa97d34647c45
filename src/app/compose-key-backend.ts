/** The key backend of a key store without a server around it, to measure it alone. */
// SPDX-License-Identifier: Apache-2.0
import { createCheckedBackend } from '../keys/contract.ts'
import type { KeyBackend } from '../keys/key-backend.ts'
import { openSoftwareKeystore } from '../keys/software/software-keystore.ts'
import { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import { openBackends } from './key-backends.ts'
import { toStoreOptions } from './store.ts'
import type { Config, KeyStoreConfig } from '../config/config.ts'
import { createLog } from '../observability/log.ts'
import { VERSION as version } from '../openapi/document.gen.ts'
import { openStore } from '../store/store.ts'

export interface OpenKeyBackend {
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
    const log = createLog({ ...config.logging, level: 'error' }, STANDARD_ERROR)
    cleanup.add(log.close)
    const store = await openStore(await toStoreOptions(config))
    cleanup.add(() => store.close())
    const keystore = await openSoftwareKeystore({ store, clock, version, warn: () => undefined })
    cleanup.add(() => keystore.close())
    const backends = await openBackends(
      { ...config, keyStores: [keyStore] },
      { store, keystore, log },
    )
    cleanup.add(() => {
      backends.close()
    })
    return {
      backend: createCheckedBackend(backends.of(keyStore).backend),
      close: () => cleanup.run(),
    }
  } catch (error) {
    await cleanup.run().catch(() => undefined)
    throw error
  }
}
