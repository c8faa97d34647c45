/** Applies a changed configuration to a running service, and logs the result. */
// SPDX-License-Identifier: Apache-2.0
import { compareConfigs, withReloadable } from '../config/changes.ts'
import { ConfigError } from '../config/faults.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { RunningService } from './cluster.ts'

/**
 * Returns the function to call at SIGHUP. A file with faults changes nothing. It never rejects:
 * the log has the outcome.
 */
export function createConfigReload(
  service: Pick<RunningService, 'apply' | 'logger'>,
  first: LoadedConfig,
  load: () => Promise<LoadedConfig>,
): () => Promise<void> {
  let running = first
  const { logger } = service

  async function reload(): Promise<void> {
    try {
      const next = await load()
      const { reloadable, needsRestart } = compareConfigs(running, next)
      if (reloadable.length + needsRestart.length === 0) {
        logger.info('configuration unchanged')
        return
      }
      const after = withReloadable(running, next)
      const skipped = reloadable.length === 0 ? [] : await service.apply(after.config)
      const waiting = [
        ...needsRestart,
        ...skipped.map((name) => `keyStores: ${name}, whose key manager is not open`),
      ]
      // Each later reload again reports the settings that need a restart.
      running = after
      if (waiting.length === 0) logger.info('configuration reloaded', { applied: reloadable })
      else {
        logger.warn('configuration reloaded in part; restart to apply the rest', {
          applied: reloadable,
          needsRestart: waiting,
        })
      }
    } catch (err) {
      const faults = err instanceof ConfigError ? { faults: err.faults } : {}
      logger.error('configuration not reloaded; the current one stays in force', { err, ...faults })
    }
  }

  // Reloads run one after another, because each compares with the configuration that the previous
  // one left.
  let last = Promise.resolve()
  return () => (last = last.then(reload))
}
