/** The only place that reads a clock. Everything else is handed a `Clock`, so tests can turn it. */
// SPDX-License-Identifier: Apache-2.0
import { uptime } from 'node:os'

export interface Clock {
  /** Wall time in milliseconds since the Unix epoch: for SigV4 dates, expiry and records only. */
  now(): number
  /** Milliseconds, fractional, from an arbitrary start; never jumps: for deadlines, leases, stages. */
  monotonic(): number
  /**
   * Milliseconds, to the hundredth of a second, since the machine started, the time that it slept
   * included: `monotonic` stands still meanwhile. Reads /proc on Linux, so not for every request.
   */
  sinceBoot(): number
}

/** Milliseconds that this event loop has spent waiting for something to do. */
export function loopIdleMs(): number {
  return performance.eventLoopUtilization().idle
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sinceBoot: () => uptime() * 1000,
}
