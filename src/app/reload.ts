/** Applies a changed configuration to a running service, and logs the result. */
// SPDX-License-Identifier: Apache-2.0
import { compareConfigs, withReloadable } from '../config/changes.ts'
import { ConfigError } from '../config/faults.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { RunningService } from './cluster.ts'
import { checkWebhook } from './webhooks.ts'

/**
 * Returns the function to call on SIGHUP, which never rejects: it logs the outcome. An invalid
 * configuration changes nothing.
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
      // Check the webhooks before any worker applies the configuration.
      for (const webhook of after.config.webhooks) await checkWebhook(webhook)
      const skipped = reloadable.length === 0 ? [] : await service.apply(after.config)
      const waiting = [
        ...needsRestart,
        ...skipped.map((name) => `keyStores: the key manager of ${name} is not open`),
      ]
      // Each later reload again reports the settings whose changes require a restart.
      running = after
      if (waiting.length === 0) logger.info('configuration reloaded', { applied: reloadable })
      else {
        logger.warn('configuration partially reloaded; restart to apply the rest', {
          applied: reloadable,
          needsRestart: waiting,
        })
      }
    } catch (err) {
      const faults = err instanceof ConfigError ? { faults: err.faults } : {}
      logger.error('configuration not reloaded; keeping the current one', { err, ...faults })
    }
  }

  // Reloads run sequentially, because each one compares its configuration with the one that the
  // previous reload put in force.
  let last = Promise.resolve()
  return () => (last = last.then(reload))
}
