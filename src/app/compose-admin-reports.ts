/** Reports of the admin listener, on a handle of the store of their own: who stops something never waits for one. */
// SPDX-License-Identifier: Apache-2.0
import { AdminError } from '../admin/errors.ts'
import type { ReportServices } from '../admin/services.ts'
import { systemClock as clock } from '../core/clock.ts'
import { openActivity, type ActivityReader } from './usage.ts'
import type { Config } from '../config/config.ts'

export interface Reports extends ReportServices {
  close(): Promise<void>
}

/** The handle is opened with the first report, and kept. */
export function createReports(config: Config): Reports {
  let opening: Promise<ActivityReader> | undefined

  function open(): Promise<ActivityReader> {
    opening ??= openActivity(config).catch((error: unknown) => {
      opening = undefined
      throw error
    })
    return opening
  }

  return {
    rehearse: async (order, window) => (await open()).rehearse(order, window),
    async exposure(about, asked) {
      const activity = await open()
      const until = clock.now()
      const since = asked ?? until - config.activity.retentionMs
      const { switches, longKills } = await activity.switches()
      const id = about !== undefined && 'id' in about ? about.id : undefined
      const found = switches.find((one) => one.id === id)
      if (id !== undefined && found === undefined) {
        throw new AdminError('NOT_FOUND', 'no such switch is in force')
      }
      const scope = about === undefined || 'id' in about ? found?.scope : about
      const exposures = await activity.exposure(scope, { since, until })
      return { scope: scope ?? { kind: 'all' }, since, until, exposures, longKills }
    },
    async close() {
      await (await opening?.catch(() => undefined))?.close()
    },
  }
}
