/**
 * Reads the control state at intervals, for warnings and metrics. No decision depends on the
 * figures.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '../../core/logger.ts'
import type { ControlState } from '../switch-table.ts'
import { createLongKillWatch } from './long-kill.ts'

export interface ControlFigures {
  /** Wall time of the oldest kill in force that stops Decrypt; undefined if there is none. */
  readonly oldestKillAt?: number
  /** Number of pending restore requests: those not yet carried out, withdrawn or expired. */
  readonly restoreRequests: number
  /** Access deadlines, with wall times in milliseconds since the Unix epoch. */
  readonly deadlines: readonly { readonly keyStore: string; readonly openUntil: number }[]
}

export interface ControlWatch {
  /** Undefined before the first successful read. */
  figures(): ControlFigures | undefined
  /**
   * Reads the figures. If that fails, `figures` keeps returning the earlier ones.
   * @throws StorageError
   */
  look(): Promise<void>
}

export function createControlWatch(deps: {
  readonly load: () => Promise<ControlState>
  readonly now: () => number
  readonly logger: Logger
}): ControlWatch {
  let figures: ControlFigures | undefined
  const longKills = createLongKillWatch(deps)
  return {
    figures: () => figures,
    async look() {
      const { switches, requests, deadManSwitches } = await deps.load()
      longKills.look(switches)
      const now = deps.now()
      const kills = switches.filter(({ direction }) => direction !== 'encrypt')
      figures = {
        ...(kills.length === 0
          ? {}
          : {
              oldestKillAt: kills.reduce((least, one) => Math.min(least, one.createdAt), Infinity),
            }),
        restoreRequests: requests.filter(({ expiresAt }) => expiresAt > now).length,
        deadlines: deadManSwitches.map(({ keyStore, openUntil }) => ({ keyStore, openUntil })),
      }
    },
  }
}
