/** A count over a sliding window, in constant memory. */
// SPDX-License-Identifier: Apache-2.0

const SLOTS = 16
/** Minimum share of the window that a count covers. */
export const LEAST_COVERED = (SLOTS - 1) / SLOTS

/**
 * Counts in slots of one sixteenth of the window. The count covers at least fifteen sixteenths of
 * the window, and never includes requests older than the window.
 */
export class WindowCount {
  readonly #slots = new Uint32Array(SLOTS)
  readonly #slotMs: number
  /** Index of the newest slot, counted from time 0. */
  #newest = 0
  #total = 0

  constructor(windowMs: number) {
    this.#slotMs = windowMs / SLOTS
  }

  /**
   * @param at milliseconds since an arbitrary origin; a time before the newest slot counts in the
   * newest slot
   */
  add(at: number, count = 1): void {
    this.#turnTo(at)
    const slot = this.#newest % SLOTS
    this.#slots[slot] = (this.#slots[slot] ?? 0) + count
    this.#total += count
  }

  totalAt(at: number): number {
    this.#turnTo(at)
    return this.#total
  }

  #turnTo(at: number): void {
    const newest = Math.floor(at / this.#slotMs)
    if (newest <= this.#newest) return
    if (newest - this.#newest >= SLOTS) {
      this.#slots.fill(0)
      this.#total = 0
      this.#newest = newest
      return
    }
    while (this.#newest < newest) {
      this.#newest += 1
      const slot = this.#newest % SLOTS
      this.#total -= this.#slots[slot] ?? 0
      this.#slots[slot] = 0
    }
  }
}
