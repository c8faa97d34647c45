/** Requests of one turn of the event loop, served side by side. */
// SPDX-License-Identifier: Apache-2.0
import type { Admission } from './admission.ts'

export interface Batch<Item> {
  add(item: Item): void
  /** Serves those that are waiting now, when others behind them would wait for too long. */
  flush(): void
}

/**
 * Collects what arrives while the event loop reads its sockets, and hands it over in one go right
 * after. Each stage then runs for every request of the batch while its code and tables are still in
 * the processor's caches: a higher rate under load, for a few microseconds when idle
 * (docs/performance.md has figures).
 * @param serve must not throw, nor must `refuse`, which gets those whose turn comes too late
 */
export function createBatch<Item>(
  admission: Admission,
  serve: (item: Item) => void,
  refuse: (item: Item) => void,
): Batch<Item> {
  let waiting: Item[] = []
  let isScheduled = false

  function serveWaiting(): void {
    if (waiting.length === 0) return
    const items = waiting
    waiting = []
    admission.startServing()
    let served = 0
    while (served < items.length && !admission.isLate()) {
      serve(items[served] as Item)
      served += 1
    }
    admission.endServing(served)
    // What was begun is finished first.
    if (served < items.length) setImmediate(refuseAll, items.slice(served))
  }

  function refuseAll(items: readonly Item[]): void {
    for (const item of items) refuse(item)
  }

  function endRound(): void {
    isScheduled = false
    admission.endReading()
    serveWaiting()
  }

  /** Every round has an end, also one in which all were refused. */
  function scheduleEnd(): void {
    if (isScheduled) return
    isScheduled = true
    setImmediate(endRound)
  }

  return {
    add(item) {
      admission.enqueue()
      waiting.push(item)
      scheduleEnd()
    },
    flush() {
      serveWaiting()
      scheduleEnd()
    },
  }
}
