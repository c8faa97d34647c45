/** Opens the store to prune the audit logs. */
// SPDX-License-Identifier: Apache-2.0
import {
  type PruneDeps,
  type PrunedLog,
  type PruneOrder,
  pruneLogs,
} from '../audit/reader/retention.ts'
import type { Config } from '../config/config.ts'
import { systemClock as clock } from '../core/clock.ts'
import { openSigner } from '../killswitch/receipt/signing-key.ts'
import { appendEvent } from '../store/event-log.ts'
import { openStore } from '../store/store.ts'
import { toStoreOptions } from './store.ts'

/**
 * Prunes the logs of this host.
 * @throws AuditError AUDIT_INVALID if a log cannot be opened, StorageError
 */
export async function pruneLogsOf(
  config: Config,
  order: PruneOrder,
): Promise<readonly PrunedLog[]> {
  const store = await openStore(await toStoreOptions(config, { connections: 'one' }))
  try {
    const deps: PruneDeps = {
      root: config.audit.folder,
      signer: await openSigner(store, 'audit'),
      async record(operator, detail) {
        const at = clock.now()
        await store.change((transaction, epoch) =>
          appendEvent(transaction, store.sealing, {
            ...{ at, epoch, kind: 'audit-pruned', operator, detail: { ...detail } },
          }),
        )
        return at
      },
    }
    return await pruneLogs(deps, order)
  } finally {
    await store.close()
  }
}
