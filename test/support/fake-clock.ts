/** A clock that tests turn by hand. */
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

  /** Both clocks go on, as when time passes. */
  advance(ms: number): void {
    this.#wall += ms
    this.#monotonic += ms
    this.#sinceBoot += ms
  }

  sinceBoot(): number {
    return this.#sinceBoot
  }

  /** The machine sleeps: the monotonic clock stands still. */
  suspend(ms: number): void {
    this.#wall += ms
    this.#sinceBoot += ms
  }

  /** Wall time alone jumps, as when somebody sets it. */
  jumpWallTime(ms: number): void {
    this.#wall += ms
  }
}
