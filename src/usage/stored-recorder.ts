/** The recorder of a serving process, which writes its counts to the control store. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import type { Store } from '../store/store.ts'
import { type Recorder, createRecorder } from './recorder.ts'
import { purgeActivity, writeCounts, writeUses } from './usage-table.ts'

/** Starts a recorder that writes until it is stopped. */
export function startStoredRecorder(deps: {
  readonly config: {
    readonly retentionMs: number
    readonly flushIntervalMs: number
    readonly maxSubjects: number
  }
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
}): Recorder {
  const { config, store, clock, logger } = deps
  const recorder = createRecorder({
    writeCounts: (counts) => writeCounts(store.database, counts),
    writeUses: (uses) => writeUses(store.database, uses),
    purge: async () => {
      // Uses the database's clock, so that a host whose clock is wrong does not delete other hosts'
      // rows.
      const ask = `SELECT ${store.database.nowSql} AS now`
      const [row] = await store.database.snapshot((reader) => reader.query(ask))
      const now = Number(row?.['now'])
      await purgeActivity(store.database, { now, retentionMs: config.retentionMs })
    },
    ...{ clock, logger, flushIntervalMs: config.flushIntervalMs, maxSubjects: config.maxSubjects },
  })
  recorder.start()
  return recorder
}
