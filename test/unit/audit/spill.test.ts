/** Tests grouping any number of items in bounded memory. */
// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs'
import fc from 'fast-check'
import t from 'tap'
import { createSpill, type SpillItem } from '../../../src/audit/cloudtrail/spill.ts'
import { temporaryFolder } from '../../support/cli.ts'

interface Item extends SpillItem {
  readonly n: number
}

void t.test(
  'each id is returned once, with its items in order, however often files are divided',
  async (t) => {
    const folder = await temporaryFolder(t)
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string({ unit: 'binary', maxLength: 3 }), fc.nat()), {
          maxLength: 300,
        }),
        fc.constantFrom(1, 50, 1000, 1_000_000),
        (items, maxGroupedBytes) => {
          const spill = createSpill<Item>({ folder, maxGroupedBytes })
          const expected = new Map<string, number[]>()
          for (const [id, n] of items) {
            // A lone surrogate would not survive the encoding as UTF-8.
            const key = Buffer.from(id).toString()
            spill.add(key, { side: 'log', n })
            expected.set(key, [...(expected.get(key) ?? []), n])
          }
          const found = [...spill.groups()].map(({ id, items }) => [id, items.map(({ n }) => n)])
          spill.close()
          const byId = (a: unknown, b: unknown) => (String(a) < String(b) ? -1 : 1)
          t.strictSame(found.sort(byId), [...expected].sort(byId))
        },
      ),
      { numRuns: 100 },
    )
    t.same(readdirSync(folder), [], 'no file is left')
  },
)

void t.test(
  'an id that is repeated endlessly does not exhaust memory, and does not hide the other side',
  async (t) => {
    const folder = await temporaryFolder(t)
    const spill = createSpill<Item>({ folder, maxGroupedBytes: 1000 })
    for (let n = 0; n < 5000; n++) spill.add('same', { side: 'log', n })
    spill.add('same', { side: 'cloudtrail', n: 5000 })
    const groups = [...spill.groups()]
    t.match(groups, [{ id: 'same', more: { log: 4900 } }])
    t.equal(groups[0]?.items.length, 101)
    t.match(groups[0]?.items.at(-1), { side: 'cloudtrail', n: 5000 })
    spill.close()
  },
)

void t.test('a caller that stops early leaves no file', async (t) => {
  const folder = await temporaryFolder(t)
  const spill = createSpill<Item>({ folder, maxGroupedBytes: 10 })
  for (let n = 0; n < 2000; n++) spill.add(String(n), { side: 'log', n })
  for (const { items } of spill.groups()) if (items.length > 0) break
  spill.close()
  t.same(readdirSync(folder), [])
})
