/** Tests that garbage is collected at once, and that programs do not get a function for that. */
// SPDX-License-Identifier: Apache-2.0
import { runInNewContext } from 'node:vm'
import t from 'tap'
import { collectGarbage } from '../../../src/core/garbage.ts'

/** An object that was used in this turn of the event loop stays until the next one. */
const turn = () => new Promise((resolve) => setImmediate(resolve))

void t.test('an object that nothing refers to is collected', async (t) => {
  const kept = { name: 'kept' }
  const references = [new WeakRef(kept), new WeakRef({ name: 'garbage' })]
  await turn()
  collectGarbage()
  t.strictSame(
    references.map((one) => one.deref()),
    [kept, undefined],
  )
  t.equal(runInNewContext('typeof gc'), 'undefined')
})
