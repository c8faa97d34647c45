/** Opens the control store for commands that retire key versions. */
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

/** Operator recorded for changes to keys. The retirement's own events name the people involved. */
export const RETIREMENT_OPERATOR = 'latchkey keys retire'

/** Opens the store, runs `work`, and closes the store even if `work` throws. @throws StorageError */
export async function withRetirement<T>(
  config: Config,
  keyStore: KeyStoreName,
  work: (deps: RetirementDeps) => Promise<T>,
): Promise<T> {
  const store = await openStore(await toStoreOptions(config, { connections: 'one' }))
  const tokens = createTokenAdministrations(silentLogger)
  try {
    const place = { config, store, operator: RETIREMENT_OPERATOR, tokens }
    const administration = createAdministration({ ...place, forRetirement: true })
    return await work({ store, clock, keys: administration.keys(keyStore) })
  } finally {
    await tokens.close().finally(() => store.close())
  }
}
