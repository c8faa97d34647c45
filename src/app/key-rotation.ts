/** Rotates software keys on the schedule of the configuration: once per `latchkey serve`. */
// SPDX-License-Identifier: Apache-2.0
import type { Config } from '../config/config.ts'
import type { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { periodic } from '../core/periodic.ts'
import { rotateDueKeys } from '../keys/software/scheduled-rotation.ts'
import type { Store } from '../store/store.ts'

/** Interval between two looks, in milliseconds. */
const LOOK_EVERY_MS = 600_000

export function startKeyRotation(
  { config, store, logger }: { config: Config; store: Store; logger: Logger },
  cleanup: Cleanup,
): void {
  const schedules = config.keyStores.flatMap(({ name, rotateEveryMs }) =>
    rotateEveryMs === undefined ? [] : [{ keyStore: name, maxAgeMs: rotateEveryMs }],
  )
  if (schedules.length === 0) return
  const rotation = periodic({
    intervalMs: LOOK_EVERY_MS,
    async work() {
      for (const order of schedules) {
        for (const rotated of await rotateDueKeys(store, clock, order)) {
          logger.info('a key was rotated on schedule', { keyStore: order.keyStore, ...rotated })
        }
      }
    },
    onError: (err) => {
      logger.warn('keys could not be rotated on schedule; retrying', { err })
    },
  })
  void rotation.runNow()
  cleanup.add(() => rotation.stop())
}
