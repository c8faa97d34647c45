/** Tests that garbage is collected at once, and that programs do not get a function for that. */
// SPDX-License-Identifier: Apache-2.0
import { syncBuiltinESMExports } from 'node:module'
import v8 from 'node:v8'
import vm, { runInNewContext } from 'node:vm'
import t from 'tap'
import { collectGarbage } from '../../../src/core/garbage.ts'

/** An object that was used in this turn of the event loop stays until the next one. */
const turn = () => new Promise((resolve) => setImmediate(resolve))

void t.test('an object that nothing refers to is collected', async (t) => {
  const kept = { name: 'kept' }
  const references = [new WeakRef(kept), new WeakRef({ name: 'garbage' })]
  await turn()
  t.equal(collectGarbage(), true)
  t.strictSame(
    references.map((one) => one.deref()),
    [kept, undefined],
  )
  t.equal(runInNewContext('typeof gc'), 'undefined')
})

void t.test('without the function, nothing is collected and nothing fails', (t) => {
  const { setFlagsFromString } = v8
  const original = vm.runInNewContext
  const restore = () => {
    v8.setFlagsFromString = setFlagsFromString
    vm.runInNewContext = original
    syncBuiltinESMExports()
  }
  t.teardown(restore)
  const flags: string[] = []
  v8.setFlagsFromString = (flag) => {
    flags.push(flag)
  }
  syncBuiltinESMExports()
  t.equal(collectGarbage(), false, 'V8 refuses the flag')
  vm.runInNewContext = () => {
    throw new Error('no other context')
  }
  syncBuiltinESMExports()
  t.equal(collectGarbage(), false, 'V8 cannot create a context')
  t.strictSame(flags, ['--expose-gc', '--no-expose-gc', '--expose-gc', '--no-expose-gc'])
  restore()
  t.equal(collectGarbage(), true)
  t.end()
})
