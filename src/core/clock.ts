/**
 * The only module that reads a clock. All other code receives a `Clock`, so that tests can set the
 * time.
 */
// SPDX-License-Identifier: Apache-2.0
import { uptime } from 'node:os'

export interface Clock {
  /**
   * Wall time in milliseconds since the Unix epoch. Use it for SigV4 dates, expiry and records
   * only.
   */
  now(): number
  /**
   * Milliseconds, with fractions, since an arbitrary point in time; the value never jumps. Use it
   * for deadlines, leases and stages.
   */
  monotonic(): number
  /**
   * Milliseconds since the machine started, to the hundredth of a second. The value includes time
   * spent asleep, during which `monotonic` stands still. Reads /proc on Linux, so it is too slow
   * for every request.
   */
  sinceBoot(): number
}

/** Returns this event loop's total idle time in milliseconds. */
export function loopIdleMs(): number {
  return performance.eventLoopUtilization().idle
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sinceBoot: () => uptime() * 1000,
}
