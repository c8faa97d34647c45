/** Spreads long work over several turns of the event loop, so that requests are served in between. */
// SPDX-License-Identifier: Apache-2.0

/** Yields to the event loop, so that all work that is due can run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/**
 * @param perSlice number of items to process in one turn; together they must take well under two
 * milliseconds
 */
export async function forEachInSlices<T>(
  items: Iterable<T>,
  perSlice: number,
  work: (item: T) => void,
): Promise<void> {
  let count = 0
  for (const item of items) {
    if (count === perSlice) {
      await turn()
      count = 0
    }
    work(item)
    count += 1
  }
}
