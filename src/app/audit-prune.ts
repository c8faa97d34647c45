/** Prunes audit logs: records what is removed in the control log, then removes it. */
// SPDX-License-Identifier: Apache-2.0
import { openLog } from '../audit/reader/log-reader.ts'
import { countOlder } from '../audit/reader/retention.ts'
import { listProcessLogs } from '../audit/writer/log-folder.ts'
import { pruneLog } from '../audit/writer/pruning.ts'
import { join } from 'node:path'
import type { Config } from '../config/config.ts'
import { systemClock as clock } from '../core/clock.ts'
import { openSigner } from '../killswitch/receipt/signing-key.ts'
import { appendEvent } from '../store/event-log.ts'
import { openStore } from '../store/store.ts'
import { toStoreOptions } from './store.ts'

export interface PruneOrder {
  /** Wall time in milliseconds; every removed entry is earlier. */
  readonly before: number
  readonly reason: string
  readonly operator: string
  /** If false, nothing is removed, only reported. */
  readonly isConfirmed: boolean
}

export interface PrunedLog {
  readonly folder: string
  readonly origin: string
  /** Number of entries ever written to the log. */
  readonly size: number
  /** Number of entries at the beginning that are pruned after this run, and before it. */
  readonly entries: number
  readonly prunedBefore: number
}

/**
 * Prunes the logs of this host. The control log is never pruned.
 * @returns the logs from which entries were removed, or would be
 * @throws AuditError AUDIT_INVALID for a log that does not open, StorageError
 */
export async function pruneLogs(
  config: Config,
  { before, reason, operator, isConfirmed }: PruneOrder,
): Promise<readonly PrunedLog[]> {
  const { folder: root } = config.audit
  const store = await openStore(await toStoreOptions(config, { connections: 'one' }))
  try {
    const signer = await openSigner(store, 'audit')
    const pruned: PrunedLog[] = []
    for (const name of await listProcessLogs(root)) {
      const folder = join(root, name)
      const log = await openLog(folder, signer.publicKey)
      const entries = countOlder(log, before)
      if (entries === log.pruned) continue
      const { origin, size } = log.checkpoint
      pruned.push({ folder, origin, size, entries, prunedBefore: log.pruned })
      if (!isConfirmed) continue
      const at = clock.now()
      const detail = { origin, entries, before: new Date(before).toISOString(), reason }
      await store.change((transaction, epoch) =>
        appendEvent(transaction, store.sealing, {
          ...{ at, epoch, kind: 'audit-pruned', operator, detail },
        }),
      )
      const statement = {
        ...{ kind: 'audit pruned' as const, ...detail, operator },
        prunedAt: new Date(at).toISOString(),
      }
      await pruneLog(folder, signer.sign(statement), log.pruned)
    }
    return pruned
  } finally {
    await store.close()
  }
}
