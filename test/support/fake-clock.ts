/** A clock that tests control. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../src/core/clock.ts'

export class FakeClock implements Clock {
  #wall: number
  #monotonic = 1000
  #sinceBoot = 500_000

  /** @param wall milliseconds since the Unix epoch */
  constructor(wall = Date.UTC(2026, 0, 15, 12)) {
    this.#wall = wall
  }

  now(): number {
    return this.#wall
  }

  monotonic(): number {
    return this.#monotonic
  }

  /** Advances all clocks, as the passage of time does. */
  advance(ms: number): void {
    this.#wall += ms
    this.#monotonic += ms
    this.#sinceBoot += ms
  }

  sinceBoot(): number {
    return this.#sinceBoot
  }

  /** Simulates a machine that sleeps for `ms`: the monotonic clock does not advance. */
  suspend(ms: number): void {
    this.#wall += ms
    this.#sinceBoot += ms
  }

  /** Moves only the wall clock, as if someone had changed the system time. */
  jumpWallTime(ms: number): void {
    this.#wall += ms
  }
}
