/** Records usage and the ledger of key versions in a serving process. */
// SPDX-License-Identifier: Apache-2.0
import type { Config } from '../config/config.ts'
import type { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { periodic } from '../core/periodic.ts'
import type { RequestRecord } from '../core/request.ts'
import { tend } from '../retirement/quiet.ts'
import type { Store } from '../store/store.ts'
import { startStoredRecorder } from '../usage/stored-recorder.ts'
import { createVersionLedger } from '../usage/version-ledger.ts'
import { writeLedger } from '../usage/version-table.ts'
import type { ControlledGate } from './gate.ts'

export interface UsageDeps {
  readonly config: Config
  readonly store: Store
  readonly logger: Logger
  readonly control: Pick<ControlledGate, 'id' | 'isFirst'>
}

export interface ServerUsage {
  /** Counts a request by caller and key. */
  readonly recordCaller: (record: RequestRecord) => void
  /**
   * Records the use of a key version. Call it as soon as the request is finished, because the
   * ledger states that it is complete up to its last write.
   */
  readonly recordVersion: (record: RequestRecord) => void
}

/**
 * Starts the usage recorder and the version ledger. The ledger records its start before the process
 * can serve; `cleanup` writes what is still in memory after the last request.
 * @throws StorageError
 */
export async function startUsage(
  { config: { activity: config }, store, logger, control }: UsageDeps,
  cleanup: Cleanup,
): Promise<ServerUsage> {
  const recorder = startStoredRecorder({ config, store, clock, logger })
  cleanup.add(() => recorder.stop())
  const ledger = createVersionLedger({
    ...{ id: control.id, clock, maxPending: config.maxSubjects },
    write: (uses, writer) => writeLedger(store.database, uses, writer),
  })
  await ledger.open()
  if (control.isFirst) await tend(store, clock.now())
  const flushing = periodic({
    intervalMs: config.flushIntervalMs,
    async work() {
      await ledger.flush()
      if (control.isFirst) await tend(store, clock.now())
    },
    onError: () => undefined, // the next run tries again
  })
  cleanup.add(async () => {
    await flushing.stop()
    await ledger.close()
  })
  return { recordCaller: recorder.record, recordVersion: ledger.record }
}
