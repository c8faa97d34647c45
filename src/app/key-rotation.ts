/** Rotates software keys on the configured schedule, in one process per `latchkey serve`. */
// SPDX-License-Identifier: Apache-2.0
import type { Config, KeyStoreConfig } from '../config/config.ts'
import type { Cleanup } from '../core/cleanup.ts'
import { systemClock as clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { periodic } from '../core/periodic.ts'
import { rotateDueKeys } from '../keys/software/scheduled-rotation.ts'
import type { Store } from '../store/store.ts'
import type { ControlledGate } from './gate.ts'

/** Interval between two checks, in milliseconds. */
const LOOK_EVERY_MS = 600_000

interface KeyRotationDeps {
  readonly config: Config
  readonly store: Store
  readonly logger: Logger
  readonly control: Pick<ControlledGate, 'isFirst'>
}

export interface KeyRotation {
  /**
   * Rotates keys on the schedules of these key stores from now on. The first check runs at once.
   */
  apply(keyStores: readonly KeyStoreConfig[]): void
}

export function startKeyRotation(
  { config, store, logger, control }: KeyRotationDeps,
  cleanup: Cleanup,
): KeyRotation {
  if (!control.isFirst) return { apply: () => undefined }
  let schedules = toSchedules(config.keyStores)
  const rotation = periodic({
    intervalMs: LOOK_EVERY_MS,
    async work() {
      for (const order of schedules) {
        for (const rotated of await rotateDueKeys(store, clock, order)) {
          logger.info('rotated a key on schedule', { keyStore: order.keyStore, ...rotated })
        }
      }
    },
    onError: (err) => {
      logger.warn('could not rotate keys on schedule; retrying', { err })
    },
  })
  void rotation.runNow()
  cleanup.add(() => rotation.stop())
  return {
    apply(keyStores) {
      schedules = toSchedules(keyStores)
      void rotation.runNow()
    },
  }
}

function toSchedules(keyStores: readonly KeyStoreConfig[]) {
  return keyStores.flatMap(({ name, rotateEveryMs }) =>
    rotateEveryMs === undefined ? [] : [{ keyStore: name, maxAgeMs: rotateEveryMs }],
  )
}
