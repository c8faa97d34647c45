/** Who used which key: counted by a serving process, read by the command line. */
// SPDX-License-Identifier: Apache-2.0
import { purgeActivity, writeCounts } from './activity/activity-table.ts'
import { createRecorder, type Recorder } from './activity/recorder.ts'
import type { Clock } from './base/clock.ts'
import type { Config } from './config/config.ts'
import type { Store } from './storage/store.ts'

/** Of one process; it writes to the store until it is stopped. */
export function createActivityRecorder(deps: {
  readonly config: Config['activity']
  readonly store: Store
  readonly clock: Clock
  readonly warn: (message: string, fields: object) => void
}): Recorder {
  const { config, store, clock, warn } = deps
  const recorder = createRecorder({
    write: (counts) => writeCounts(store.database, counts),
    purge: () =>
      purgeActivity(store.database, { now: clock.now(), retentionMs: config.retentionMs }),
    ...{ clock, warn, flushIntervalMs: config.flushIntervalMs, maxSubjects: config.maxSubjects },
  })
  recorder.start()
  return recorder
}
