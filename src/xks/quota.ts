/** The request quota of one key store, as a token bucket on the monotonic clock. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'

export interface Quota {
  /** Takes one token; false when there is none, and the request is to be refused. */
  take(): boolean
}

export interface QuotaLimits {
  readonly requestsPerSecond: number
  /** How many may come at once: the size of the bucket. */
  readonly burst: number
}

/**
 * @param shares how many processes serve the key store: each takes an equal part of the quota, and of
 * the bucket at least one token
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

/** For a key store without a quota. */
export const unlimited: Quota = { take: () => true }
