/** A bag against a Set, for any order of coming and going. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { Bag } from '../../../src/core/bag.ts'

void t.test('it holds what a Set would hold', (t) => {
  const moves = fc.array(fc.record({ item: fc.nat(8), enters: fc.boolean() }), { maxLength: 60 })
  fc.assert(
    fc.property(moves, (list) => {
      const items = Array.from({ length: 9 }, (_, name) => ({ name, bagIndex: -1 }))
      const bag = new Bag<(typeof items)[number]>()
      const set = new Set<(typeof items)[number]>()
      for (const { item: at, enters } of list) {
        const item = items[at]
        if (item === undefined || (enters && set.has(item))) continue
        if (enters) {
          bag.add(item)
          set.add(item)
        } else if (bag.remove(item) !== set.delete(item)) return false
      }
      const names = (all: Iterable<{ name: number }>) => [...all].map(({ name }) => name).sort()
      return bag.size === set.size && String(names(bag.all())) === String(names(set))
    }),
  )
  t.end()
})
