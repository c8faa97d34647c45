/** A time budget that every call on behalf of a request shares. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from './clock.ts'

export class DeadlineExceeded extends Error {
  override readonly name = 'DeadlineExceeded'
}

/**
 * Counts on the monotonic clock. `signal` is made only when somebody asks for it: most calls end
 * well within the budget and need neither the AbortController nor its timer.
 */
export class Deadline {
  readonly #clock: Clock
  readonly #endsAt: number
  #controller: AbortController | undefined

  /** @param budgetMs milliseconds from now */
  constructor(clock: Clock, budgetMs: number) {
    this.#clock = clock
    this.#endsAt = clock.monotonic() + budgetMs
  }

  /** Milliseconds left; zero or less when the budget is spent. */
  get remainingMs(): number {
    return this.#endsAt - this.#clock.monotonic()
  }

  /** Aborts with `DeadlineExceeded` when the budget is spent. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      const controller = new AbortController()
      this.#controller = controller
      const abort = () => {
        controller.abort(new DeadlineExceeded('the time budget of this call is spent'))
      }
      const left = this.remainingMs
      if (left <= 0) abort()
      else setTimeout(abort, left).unref()
    }
    return this.#controller.signal
  }

  /**
   * The result of `work`, or a rejection with `DeadlineExceeded` once the budget is spent. The work
   * itself goes on; whoever can cancel it watches `signal`.
   */
  race<T>(work: Promise<T>): Promise<T> {
    const left = this.remainingMs
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => {
          reject(new DeadlineExceeded('the time budget of this call is spent'))
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
