/** Spreads long work over several turns of the event loop, so that requests are served in between. */
// SPDX-License-Identifier: Apache-2.0

/** Yields to the event loop, so that all work that is due can run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Returns what `work` returns for each item. @param perSlice as for forEachInSlices */
export async function mapInSlices<T, Result>(
  items: Iterable<T>,
  perSlice: number,
  work: (item: T) => Result,
): Promise<readonly Result[]> {
  const results: Result[] = []
  await forEachInSlices(items, perSlice, (item) => {
    results.push(work(item))
  })
  return results
}

/** Returns the items that `isWanted` accepts. @param perSlice as for forEachInSlices */
export async function filterInSlices<T>(
  items: Iterable<T>,
  perSlice: number,
  isWanted: (item: T) => boolean,
): Promise<readonly T[]> {
  const found: T[] = []
  await forEachInSlices(items, perSlice, (item) => {
    if (isWanted(item)) found.push(item)
  })
  return found
}

/** Number of items that are sorted or merged in one turn of the event loop. */
const SORTED_PER_TURN = 1000

/** Returns the items in the order of `compare`. Equal items keep their order. */
export async function sortInSlices<T>(
  items: readonly T[],
  compare: (a: T, b: T) => number,
): Promise<readonly T[]> {
  let runs: (readonly T[])[] = []
  for (let at = 0; at < items.length; at += SORTED_PER_TURN) {
    if (at > 0) await turn()
    runs.push(items.slice(at, at + SORTED_PER_TURN).sort(compare))
  }
  while (runs.length > 1) {
    const merged: (readonly T[])[] = []
    for (let i = 0; i < runs.length; i += 2) {
      merged.push(
        await mapInSlices(
          merge(runs[i] ?? [], runs[i + 1] ?? [], compare),
          SORTED_PER_TURN,
          (one) => one,
        ),
      )
    }
    runs = merged
  }
  return runs[0] ?? []
}

function* merge<T>(a: readonly T[], b: readonly T[], compare: (a: T, b: T) => number) {
  let at = 0
  for (const one of a) {
    for (;;) {
      const other = b[at]
      if (at >= b.length || other === undefined || compare(one, other) <= 0) break
      yield other
      at += 1
    }
    yield one
  }
  yield* b.slice(at)
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
