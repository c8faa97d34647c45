/**
 * Determines how often an instance reads the rows of other instances, looks for expired switches,
 * and audits the store. Each instance reads the rows of all instances from one database, so the
 * interval grows with the size of the fleet.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { periodic, type Schedule } from '../../core/periodic.ts'

export interface HousekeepingDeps {
  readonly clock: Clock
  /** Number of instances. */
  readonly instances: () => number
  /**
   * Whether an instance has found that the store was changed from outside. The other instances then
   * audit as soon as they can.
   */
  readonly isAlarmed: () => boolean
  /** For tests. */
  readonly schedule?: Schedule
}

export interface Housekeeping {
  /**
   * Repeats work that reads the rows of all instances.
   * @returns a function that ends the repetition
   */
  often(work: () => Promise<void>): () => Promise<void>
  /**
   * Repeats an audit.
   * @param readMs milliseconds that this instance has just spent reading and verifying the store
   * @returns a function that ends the repetition
   */
  audits(work: () => Promise<void>, readMs: number): () => Promise<void>
}

/** Minimum number of milliseconds between two runs. */
const LEAST_MS = 1000
/**
 * Milliseconds that each instance of the fleet adds to the interval; with 51 instances or more, the
 * sum exceeds LEAST_MS.
 */
const PER_INSTANCE_MS = 20
/**
 * The fraction of its time that an instance spends on audits, regardless of the size of the store.
 */
const AUDIT_SHARE = 0.1
/**
 * The first audit waits for this many times as long as the start has read the store, because it
 * would slow down the first requests.
 */
const PER_READ = 5
/**
 * Maximum number of milliseconds that the first audit waits. Someone who slows down the database
 * during a start must not delay the audit any further.
 */
const MOST_FIRST_MS = 10_000
/** All audits of a fleet together cost no more than the audits of this many instances. */
const AUDITING_INSTANCES = 4

export function createHousekeeping({
  clock,
  instances,
  isAlarmed,
  schedule,
}: HousekeepingDeps): Housekeeping {
  /**
   * @param notBefore returns the earliest time of the next run in monotonic milliseconds; called
   * every LEAST_MS
   */
  const repeat = (notBefore: () => number, work: (now: number) => Promise<void>) =>
    periodic({
      intervalMs: LEAST_MS,
      async work() {
        const now = clock.monotonic()
        // Running half an interval early is better than running a whole interval late.
        if (now >= notBefore() - LEAST_MS / 2) await work(now)
      },
      // The work is tried again at the next interval, and the poller reports a store that cannot be
      // reached.
      onError: () => undefined,
      ...(schedule === undefined ? {} : { schedule }),
    }).stop

  return {
    often(work) {
      let lastAt = -Infinity
      const notBefore = () => lastAt + Math.max(LEAST_MS, instances() * PER_INSTANCE_MS)
      return repeat(notBefore, async (now) => {
        await work()
        lastAt = now
      })
    },
    audits(work, readMs) {
      const firstAt = clock.monotonic() + Math.min(readMs * PER_READ, MOST_FIRST_MS)
      let startedAt = -Infinity
      let endedAt = -Infinity
      const notBefore = () => {
        if (startedAt === -Infinity) return isAlarmed() ? startedAt : firstAt
        const sharing = isAlarmed() ? 1 : Math.max(1, instances() / AUDITING_INSTANCES)
        const tookMs = endedAt - startedAt
        const idleMs = (tookMs * sharing) / AUDIT_SHARE - tookMs
        return Math.max(startedAt + LEAST_MS * sharing, endedAt + idleMs)
      }
      return repeat(notBefore, async (now) => {
        startedAt = now
        await work().finally(() => {
          endedAt = clock.monotonic()
        })
      })
    },
  }
}
