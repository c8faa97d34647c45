/** Tests that long lists are sorted as by Array.sort, in several turns of the event loop. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { sortInSlices } from '../../../src/core/slices.ts'

const byRank = (a: { rank: number }, b: { rank: number }) => a.rank - b.rank

void t.test('the order is that of Array.sort, also of equal items', async (t) => {
  for (const count of [0, 1, 2, 999, 1000, 1001, 2000, 3500, 10_007]) {
    for (const ranks of [3, 1_000_000]) {
      const items = Array.from({ length: count }, (_, i) => ({ rank: (i * 7919) % ranks, i }))
      const before = [...items]
      t.same(await sortInSlices(items, byRank), [...items].sort(byRank), String(count))
      t.same(items, before, 'the list itself stays as it was')
    }
  }
})

void t.test('other work runs in between', async (t) => {
  const items = Array.from({ length: 8000 }, (_, i) => ({ rank: (i * 7919) % 8000 }))
  let turns = 0
  let isOver = false
  const count = () => {
    turns += 1
    if (!isOver) setImmediate(count)
  }
  setImmediate(count)
  await sortInSlices(items, byRank)
  isOver = true
  // Eight runs are sorted, and merged in three passes.
  t.ok(turns >= 8 + 3 * 7 - 7, String(turns))
})
