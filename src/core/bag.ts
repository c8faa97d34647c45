/** A collection that things enter and leave all the time. */
// SPDX-License-Identifier: Apache-2.0

/** What can be in one bag at a time; the field is the bag's. */
export interface Bagged {
  /** Where it lies; -1 outside. */
  bagIndex: number
}

/**
 * In no order. For what comes and goes with each request, in the place of a Map or Set: those leave a chain
 * of their former tables behind, and once the first of it is old, V8 takes all that ever was in them for
 * alive until its next full collection (docs/performance.md).
 */
export class Bag<T extends Bagged> {
  readonly #items: T[] = []

  get size(): number {
    return this.#items.length
  }

  add(item: T): void {
    item.bagIndex = this.#items.length
    this.#items.push(item)
  }

  /** False when it is not in here. */
  remove(item: T): boolean {
    const index = item.bagIndex
    if (this.#items[index] !== item) return false
    const last = this.#items.pop()
    if (last !== undefined && last !== item) {
      this.#items[index] = last
      last.bagIndex = index
    }
    item.bagIndex = -1
    return true
  }

  /** Those that are in here now; what comes or goes meanwhile does not change it. */
  all(): readonly T[] {
    return this.#items.slice()
  }
}
