/** Notices within a poll that somebody changed the store. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../base/clock.ts'
import type { Database } from '../storage/database.ts'

export interface EpochPoller {
  /** One poll at once, then one each interval. */
  start(): Promise<void>
  stop(): Promise<void>
  /** Monotonic milliseconds before the request of the last poll that succeeded. */
  readonly lastSuccessAt: number
}

export interface EpochPollerDeps {
  readonly database: Database
  readonly clock: Clock
  readonly intervalMs: number
  /** Takes up the change. A rejection counts as a failed poll, and it is called again at the next. */
  readonly onChange: (epoch: number) => Promise<void>
  readonly warn: (message: string, fields: object) => void
}

export function createEpochPoller(deps: EpochPollerDeps): EpochPoller {
  const { clock, database } = deps
  let seen: number | undefined
  let failing = false
  let stopped = false
  let lastSuccessAt = -Infinity
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> = Promise.resolve()

  async function poll(): Promise<void> {
    const askedAt = clock.monotonic()
    try {
      const epoch = await database.epoch()
      // The first poll takes up, too, what changed between loading and polling.
      if (epoch !== seen) await deps.onChange(epoch)
      seen = epoch
      lastSuccessAt = askedAt
      if (failing) deps.warn('the control store is readable again', { epoch })
      failing = false
    } catch (error) {
      // Once per outage: at four polls a second, one line each would drown the log.
      if (!failing) deps.warn('the control store cannot be read', { err: error })
      failing = true
    }
  }

  function schedule(): void {
    if (stopped) return
    timer = setTimeout(() => {
      running = poll().then(schedule)
    }, deps.intervalMs)
    timer.unref()
  }

  return {
    async start() {
      await poll()
      schedule()
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running
    },
    get lastSuccessAt() {
      return lastSuccessAt
    },
  }
}
