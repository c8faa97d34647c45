/** Runs clean-up steps in reverse order of registration. */
// SPDX-License-Identifier: Apache-2.0

/**
 * A stack of steps that undo what was started. Every step runs; the first error is thrown
 * afterwards.
 */
export class Cleanup {
  readonly #steps: (() => Promise<void> | void)[] = []

  add(step: () => Promise<void> | void): void {
    this.#steps.push(step)
  }

  async run(): Promise<void> {
    let failure: unknown
    for (const step of this.#steps.splice(0).reverse()) {
      try {
        await step()
      } catch (error) {
        failure ??= error
      }
    }
    if (failure instanceof Error) throw failure
  }
}
