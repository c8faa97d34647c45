/** Opens the retirement of key versions on the control store, for commands. */
// SPDX-License-Identifier: Apache-2.0
import type { Config } from '../config/config.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { KeyStoreName } from '../core/ids.ts'
import type { RetirementDeps } from '../retirement/retirement.ts'
import { openStore } from '../store/store.ts'
import { createAdministration } from './administration.ts'
import { toStoreOptions } from './store.ts'

/** Opens the store, runs `work`, and closes the store even if `work` throws. @throws StorageError */
export async function withRetirement<T>(
  config: Config,
  keyStore: KeyStoreName,
  work: (deps: RetirementDeps) => Promise<T>,
): Promise<T> {
  const store = await openStore(await toStoreOptions(config, { connections: 'one' }))
  // Retirement events name the people involved themselves.
  const administration = createAdministration(config, store, 'latchkey keys retire')
  try {
    return await work({ store, clock, keys: administration.keys(keyStore) })
  } finally {
    await administration.close()
    await store.close()
  }
}
