/** Determines how long an instance may rely on what it has read, using the monotonic clock only. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'

/**
 * The lease is not held before the first `renew`, nor after it has expired. Wall time may jump
 * freely and is read for only one purpose: CLOCK_MONOTONIC stands still while a machine sleeps, and
 * a jump of wall time is a cheap sign of a possible sleep. The time since boot then settles whether
 * the machine slept.
 */
export interface Lease {
  /** Reads two clocks; does I/O only after a jump of wall time. */
  isHeld(): boolean
  /**
   * @param askedAt monotonic milliseconds, taken before the heartbeat that renews the lease was
   * sent
   */
  renew(askedAt: number): void
  /** Milliseconds since the heartbeat of the last renewal was sent; Infinity before the first. */
  ageMs(): number
  /** Milliseconds until the lease expires; zero or less if the lease is not held. */
  leftMs(): number
}

/**
 * Clocks are slewed by up to 0.05 % and are read sequentially. A sleep shorter than this is
 * harmless.
 */
const SLACK_MS = 100
const TRIES = 5

export function createLease(clock: Clock, durationMs: number): Lease {
  let renewedAt = -Infinity
  let endsAt = -Infinity
  let wallOffset = NaN
  let boot = { least: NaN, most: NaN }

  /**
   * Returns lower and upper bounds on the difference between the time since boot and the monotonic
   * clock.
   */
  function readBoot(): { least: number; most: number } {
    for (let tries = 1; ; tries++) {
      const before = clock.monotonic()
      const sinceBoot = clock.sinceBoot()
      const after = clock.monotonic()
      // If this thread was interrupted between two reads, the values are not comparable: read
      // again.
      if (after - before < SLACK_MS / 4 || tries === TRIES) {
        return { least: sinceBoot - after, most: sinceBoot - before }
      }
    }
  }

  /** Reports whether the machine slept since the last call. */
  function hasSlept(): boolean {
    const { most } = boot
    boot = readBoot()
    wallOffset = clock.now() - clock.monotonic()
    return boot.least - most >= SLACK_MS
  }

  return {
    isHeld() {
      const now = clock.monotonic()
      if (!(now < endsAt)) return false
      if (Math.abs(clock.now() - now - wallOffset) < SLACK_MS) return true
      if (!hasSlept()) return true
      endsAt = -Infinity
      return false
    },
    renew(askedAt) {
      // The response to a query sent before the sleep says nothing about the time after it.
      if (hasSlept()) endsAt = -Infinity
      else {
        renewedAt = askedAt
        endsAt = askedAt + durationMs
      }
    },
    ageMs: () => clock.monotonic() - renewedAt,
    leftMs: () => endsAt - clock.monotonic(),
  }
}
