/** Tests the document `labels`: which entries a key has, and faults. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { parseLabels } from '../../../src/policy/labels.ts'

void t.test('a key has the labels of its own entry and of every prefix, in their order', (t) => {
  const labels = parseLabels(`
demo/*: { groups: [all], tags: { stage: production, team: a } }
demo/key-1: { groups: [one], tags: { team: b } }
demo/key-*: { groups: [keys, all], tags: { team: c } }
other/key-1: { groups: [other] }
`)
  t.same(labels.of('demo', 'key-1'), {
    groups: ['all', 'one', 'keys'],
    tags: { stage: 'production', team: 'c' },
  })
  t.same(labels.of('demo', 'key-2').groups, ['all', 'keys'])
  t.same(labels.of('demo', 'other').groups, ['all'])
  t.same(labels.of('other', 'key-1'), { groups: ['other'], tags: {} })
  t.same(labels.of('other', 'key-10'), { groups: [], tags: {} })
  t.end()
})

void t.test('a repeated name is a fault, at each depth', (t) => {
  const faultsOf = (text: string) => {
    try {
      parseLabels(text)
      return []
    } catch (error) {
      return (error as { faults: readonly { message: string }[] }).faults.map((one) => one.message)
    }
  }
  t.same(faultsOf('demo/a: { groups: [x] }\ndemo/b: { groups: [x] }\ndemo/a: { groups: [y] }\n'), [
    'Map keys must be unique at line 3, column 1:',
  ])
  t.same(faultsOf('demo/a:\n  tags:\n    x: "1"\n    x: "2"\n'), [
    'Map keys must be unique at line 4, column 5:',
  ])
  t.same(faultsOf('demo/a: { groups: [x] }\n"demo/a": { groups: [y] }\n').length, 1)
  t.same(faultsOf('demo/a: { groups: [x] }\n'), [])
  t.end()
})
