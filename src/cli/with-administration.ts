/** Opens and closes the control store for commands on keys and credentials. */
// SPDX-License-Identifier: Apache-2.0
import type { Administration } from '../app/administration.ts'
import type { Config } from '../config/config.ts'
import type { KeyStoreName } from '../core/ids.ts'
import { findKeyStore, loadContextConfig, type Context } from '../terminal/command.ts'

/** Opens the store, runs `work` for one key store, and closes the store even if `work` throws. */
export async function withAdministration<T>(
  context: Context,
  work: (administration: Administration, keyStore: KeyStoreName, config: Config) => Promise<T>,
): Promise<T> {
  const config = await loadContextConfig(context)
  const keyStore = findKeyStore(context, config)
  const { openAdministration } = await import('../app/administration.ts')
  const administration = await openAdministration(config)
  try {
    return await work(administration, keyStore.name, config)
  } finally {
    await administration.close()
  }
}
