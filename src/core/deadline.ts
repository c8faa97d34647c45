/** A time budget shared by every call on behalf of one request. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from './clock.ts'

/** A value that may already be available. */
export type Awaitable<T> = T | Promise<T>

export class DeadlineExceeded extends Error {
  override readonly name = 'DeadlineExceeded'
}

export interface DeadlineOptions {
  /** Monotonic milliseconds from which the budget counts. */
  readonly startedAt?: number
  /** Reports whether the caller has gone away. */
  readonly isGone?: () => boolean
}

const isHere = () => false

/**
 * Counts on the monotonic clock. `signal` is created on first use: most calls end well within the
 * budget and need neither the AbortController nor its timer.
 */
export class Deadline {
  readonly #clock: Clock
  readonly #endsAt: number
  readonly #isGone: () => boolean
  #controller: AbortController | undefined

  /** @param budgetMs milliseconds from now, or from the given start */
  constructor(clock: Clock, budgetMs: number, options: DeadlineOptions = {}) {
    this.#clock = clock
    this.#endsAt = (options.startedAt ?? clock.monotonic()) + budgetMs
    this.#isGone = options.isGone ?? isHere
  }

  /**
   * Milliseconds left; zero or less once the budget is spent or the caller has gone away. Check it
   * before taking work from a queue.
   */
  get remainingMs(): number {
    return this.#isGone() ? 0 : this.#endsAt - this.#clock.monotonic()
  }

  /** Aborts with `DeadlineExceeded` when the budget is spent. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      const controller = new AbortController()
      this.#controller = controller
      const abort = () => {
        controller.abort(new DeadlineExceeded('the time for this call has run out'))
      }
      const left = this.remainingMs
      if (left <= 0) abort()
      else setTimeout(abort, left).unref()
    }
    return this.#controller.signal
  }

  /**
   * Returns the result of `work`, synchronously if it is available, or rejects with
   * `DeadlineExceeded` once the budget is spent. The work itself continues; code that can cancel it
   * watches `signal`.
   */
  race<T>(work: Promise<T>): Promise<T>
  race<T>(work: Awaitable<T>): Awaitable<T>
  race<T>(work: Awaitable<T>): Awaitable<T> {
    if (!(work instanceof Promise)) return work
    const left = this.remainingMs
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => {
          reject(new DeadlineExceeded('the time for this call has run out'))
        },
        Math.max(0, left),
      )
      work.then(
        (value) => {
          clearTimeout(timer)
          resolve(value)
        },
        (error: unknown) => {
          clearTimeout(timer)
          reject(error instanceof Error ? error : new Error('rejected', { cause: error }))
        },
      )
    })
  }
}

/** Resolves after `ms`. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
