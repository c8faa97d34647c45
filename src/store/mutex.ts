/** One after the other. */
// SPDX-License-Identifier: Apache-2.0

export class Mutex {
  #last: Promise<unknown> = Promise.resolve()

  /** Runs `work` when everything that was asked for before has settled. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work, work)
    this.#last = result.catch(() => undefined)
    return result
  }
}
