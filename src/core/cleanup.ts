/** What was started, to be undone in reverse. */
// SPDX-License-Identifier: Apache-2.0

/** Undoes what was started, in reverse; the first error is thrown after all has been tried. */
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
