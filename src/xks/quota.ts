/** The request quota of one key store, as a token bucket on the monotonic clock. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../base/clock.ts'

export interface Quota {
  /** Takes one token; false when there is none, and the request is to be refused. */
  take(): boolean
}

export interface QuotaLimits {
  readonly requestsPerSecond: number
  /** How many may come at once: the size of the bucket. */
  readonly burst: number
}

export function createQuota(limits: QuotaLimits, clock: Clock): Quota {
  let tokens = limits.burst
  let filledAt = clock.monotonic()
  return {
    take() {
      const now = clock.monotonic()
      tokens = Math.min(limits.burst, tokens + ((now - filledAt) / 1000) * limits.requestsPerSecond)
      filledAt = now
      if (tokens < 1) return false
      tokens -= 1
      return true
    },
  }
}

/** For a key store without a quota. */
export const unlimited: Quota = { take: () => true }
