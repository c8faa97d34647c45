/** The request quota of one key store, implemented as a token bucket on the monotonic clock. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'

export interface Quota {
  /**
   * Takes one token; returns false when there is none, in which case the request must be refused.
   */
  take(): boolean
}

export interface QuotaLimits {
  readonly requestsPerSecond: number
  /** Size of the bucket: the number of requests that may arrive at once. */
  readonly burst: number
}

/**
 * @param shares returns the number of processes that serve the key store. Each process gets an
 * equal share of the rate and of the bucket, but its bucket holds at least one token
 */
export function createQuota(
  limits: QuotaLimits,
  clock: Clock,
  shares: () => number = () => 1,
): Quota {
  let tokens = limits.burst / shares()
  let filledAt = clock.monotonic()
  return {
    take() {
      const now = clock.monotonic()
      const parts = shares()
      const rate = limits.requestsPerSecond / parts
      tokens = Math.min(
        Math.max(1, limits.burst / parts),
        tokens + ((now - filledAt) / 1000) * rate,
      )
      filledAt = now
      if (tokens < 1) return false
      tokens -= 1
      return true
    },
  }
}

/** Quota of a key store for which none is configured. It admits every request. */
export const unlimited: Quota = { take: () => true }
