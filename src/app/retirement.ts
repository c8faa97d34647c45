/** Opens the retirement of key versions on the control store, for commands. */
// SPDX-License-Identifier: Apache-2.0
import type { Config } from '../config/config.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { KeyStoreName } from '../core/ids.ts'
import { silentLogger } from '../core/logger.ts'
import type { RetirementDeps } from '../retirement/retirement.ts'
import { openStore } from '../store/store.ts'
import { createAdministration } from './administration.ts'
import { toStoreOptions } from './store.ts'
import { createTokenAdministrations } from './token-administrations.ts'

/** Opens the store, runs `work`, and closes the store even if `work` throws. @throws StorageError */
export async function withRetirement<T>(
  config: Config,
  keyStore: KeyStoreName,
  work: (deps: RetirementDeps) => Promise<T>,
): Promise<T> {
  const store = await openStore(await toStoreOptions(config, { connections: 'one' }))
  // Retirement events name the people involved themselves.
  const operator = 'latchkey keys retire'
  const tokens = createTokenAdministrations(silentLogger)
  const administration = createAdministration({ config, store, operator, tokens })
  try {
    return await work({ store, clock, keys: administration.keys(keyStore) })
  } finally {
    await tokens.close()
    await store.close()
  }
}
