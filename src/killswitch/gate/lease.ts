/** How long what an instance knows may be relied upon: counted on the monotonic clock, and on nothing else. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'

/**
 * Until `renew` is called, and once its time is over, the lease is not held. Wall time may jump as it
 * likes. It is looked at for one thing only: CLOCK_MONOTONIC stands still while a machine sleeps, and
 * a jump of wall time is the cheap sign that it may have; the time since boot then says which it was.
 */
export interface Lease {
  /** Two reads of a clock, and no I/O but after a jump of wall time. */
  isHeld(): boolean
  /** @param askedAt monotonic milliseconds, taken before the question went out whose answer renews it */
  renew(askedAt: number): void
  /** Milliseconds since the question of the last renewal; Infinity before the first. */
  ageMs(): number
  /** Zero or less when it is not held. */
  leftMs(): number
}

/** Clocks are slewed by up to 0.05 % and read one after the other; a sleep shorter than this is no matter. */
const SLACK_MS = 100
const TRIES = 5

export function createLease(clock: Clock, durationMs: number): Lease {
  let renewedAt = -Infinity
  let endsAt = -Infinity
  let wallOffset = NaN
  let boot = { least: NaN, most: NaN }

  /** Between which two values the time since boot is ahead of the monotonic clock. */
  function readBoot(): { least: number; most: number } {
    for (let tries = 1; ; tries++) {
      const before = clock.monotonic()
      const sinceBoot = clock.sinceBoot()
      const after = clock.monotonic()
      // Whoever was interrupted between two clocks compares nothing.
      if (after - before < SLACK_MS / 4 || tries === TRIES) {
        return { least: sinceBoot - after, most: sinceBoot - before }
      }
    }
  }

  /** Whether the machine slept since this was last asked. */
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
      // What was asked before the machine slept says nothing about afterwards.
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
