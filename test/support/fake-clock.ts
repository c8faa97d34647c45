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

  /** Advances both clocks, as passing time does. */
  advance(ms: number): void {
    this.#wall += ms
    this.#monotonic += ms
    this.#sinceBoot += ms
  }

  sinceBoot(): number {
    return this.#sinceBoot
  }

  /** Simulates a sleeping machine, whose monotonic clock stands still. */
  suspend(ms: number): void {
    this.#wall += ms
    this.#sinceBoot += ms
  }

  /** Moves only wall time, as when the clock is set. */
  jumpWallTime(ms: number): void {
    this.#wall += ms
  }
}
