/**
 * Decides when the next index run of a token begins, and which keys the completed runs have
 * reported for certain.
 */
// SPDX-License-Identifier: Apache-2.0

/**
 * Minimum delay in milliseconds before keys that have just appeared are read. Another program may
 * still be creating them. While keys keep appearing, the delay doubles with each run.
 */
const SETTLE_MS = 1000
/**
 * Share of the interval that is random, so that processes and tokens do not all refresh at the same
 * time.
 */
const JITTER = 0.2

export class RunSchedule {
  readonly #refreshMs: number
  readonly #now: () => number
  #isRegular = true
  #regularAt = -Infinity
  #settleMs = SETTLE_MS
  #begunAt = -Infinity
  /** When the previous run began; -Infinity if it was not completed. */
  #previousAt = -Infinity
  #readUntil = -Infinity

  /**
   * @param refreshMs interval of the regular runs in milliseconds
   * @param now returns the time on the monotonic clock in milliseconds
   */
  constructor(refreshMs: number, now: () => number) {
    this.#refreshMs = refreshMs
    this.#now = now
  }

  /**
   * Reports whether this is a regular run, which reads used keys again. Other runs come earlier, to
   * read keys that have appeared.
   */
  get isRegular(): boolean {
    return this.#isRegular
  }

  /**
   * Returns a time on the monotonic clock in milliseconds. Every key that was on the token then,
   * and still is, has been reported.
   */
  get readUntil(): number {
    return this.#readUntil
  }

  /** Must be called before the run's search for keys. */
  begin(): void {
    this.#begunAt = this.#now()
  }

  /**
   * Ends a complete run.
   * @param appeared number of keys that the run left to the next run, because they have just
   * appeared
   * @returns the delay before the next run in milliseconds
   */
  complete(appeared: number): number {
    // The previous run did not see the keys that this run left to the next one.
    const readUntil = appeared === 0 ? this.#begunAt : this.#previousAt
    this.#readUntil = Math.max(this.#readUntil, readUntil)
    this.#previousAt = this.#begunAt
    if (this.#isRegular)
      this.#regularAt = this.#now() + this.#refreshMs * (1 - JITTER / 2 + Math.random() * JITTER)
    const regularMs = Math.max(0, this.#regularAt - this.#now())
    this.#isRegular = appeared === 0 || this.#settleMs >= regularMs
    if (appeared === 0) {
      this.#settleMs = SETTLE_MS
      return regularMs
    }
    const delayMs = Math.max(SETTLE_MS, Math.min(this.#settleMs, regularMs))
    this.#settleMs *= 2
    return delayMs
  }

  /** Ends a run that failed. It is repeated. */
  fail(): void {
    this.#previousAt = -Infinity
  }
}
