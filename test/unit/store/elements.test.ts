/** Tests that a table's elements are found by the keys of their rows, like those of a Map. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes, randomInt } from 'node:crypto'
import t, { type Test } from 'tap'
import { Elements } from '../../../src/store/elements.ts'
import { toNumber } from '../../../src/store/row-codes/row-codes.ts'

const ROW_BYTES = 32
/** More rows than two blocks of memory hold. */
const MANY = 10_000

const keyOf = (i: number) => `["demo","key-${String(i)}"]`

/** Appends pages of rows of random sizes. */
function fill(elements: Elements): Map<string, bigint> {
  const model = new Map<string, bigint>()
  while (model.size < MANY) {
    const keys = Array.from({ length: randomInt(0, 300) }, (_, i) => keyOf(model.size + i))
    const bytes = randomBytes(keys.length * ROW_BYTES)
    elements.append(keys, bytes)
    for (const [i, key] of keys.entries()) {
      model.set(key, toNumber(bytes.subarray(i * ROW_BYTES, (i + 1) * ROW_BYTES)))
    }
  }
  return model
}

function check(t: Test, elements: Elements, model: ReadonlyMap<string, bigint>, what: string) {
  const wrong = [...model].filter(([key, element]) => elements.get(key) !== element)
  t.strictSame(wrong, [], what)
}

void t.test('rows are appended, replaced, added and removed', (t) => {
  const elements = new Elements()
  t.equal(elements.get(keyOf(0)), undefined)
  const model = fill(elements)
  check(t, elements, model, 'appended')
  for (let i = 0; i < MANY; i += 1) {
    const key = keyOf(randomInt(0, 2 * MANY))
    if (randomInt(0, 3) === 0) {
      elements.delete(key)
      model.delete(key)
      t.equal(elements.get(key), undefined)
    } else {
      const element = toNumber(randomBytes(ROW_BYTES))
      elements.set(key, element)
      model.set(key, element)
    }
  }
  check(t, elements, model, 'changed')
  const last = [...model.keys()].at(-1) ?? ''
  for (const element of [0n, 1n, 2n ** 256n - 1n]) {
    elements.set(last, element)
    t.equal(elements.get(last), element)
  }
  t.end()
})
