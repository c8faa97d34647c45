/** Requests of one turn of the event loop, served side by side. */
// SPDX-License-Identifier: Apache-2.0
import type { Admission } from './admission.ts'

export interface Batch<Item> {
  add(item: Item): void
  /** Serves those that are waiting now, when others behind them would wait for too long. */
  flush(): void
}

export interface Steps<Item, Answer> {
  /** What is there at once; undefined for what comes later, or is done with already. Must not throw. */
  make(item: Item): Answer | undefined
  /** Must not throw. */
  send(item: Item, answer: Answer): void
  /** Whose turn comes too late. Must not throw. */
  refuse(item: Item): void
}

/** Answers that are made before the first of them is sent. */
const SIDE_BY_SIDE = 16

/**
 * Collects what arrives while the event loop reads its sockets, and hands it over in one go right
 * after. Each step then runs for every request of the batch while its code and tables are still in
 * the processor's caches: reading, then the making of answers, then their sending. A higher rate under
 * load, for a few microseconds when idle (docs/performance.md has figures).
 */
export function createBatch<Item, Answer>(
  admission: Admission,
  steps: Steps<Item, Answer>,
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
      const some = items.slice(served, served + SIDE_BY_SIDE)
      serveSome(some)
      served += some.length
    }
    admission.endServing(served)
    // What was begun is finished first.
    if (served < items.length) setImmediate(refuseAll, items.slice(served))
  }

  function serveSome(items: readonly Item[]): void {
    const answers = items.map((item) => steps.make(item))
    items.forEach((item, i) => {
      const answer = answers[i]
      if (answer !== undefined) steps.send(item, answer)
    })
  }

  function refuseAll(items: readonly Item[]): void {
    for (const item of items) steps.refuse(item)
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
