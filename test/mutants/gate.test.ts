/** Mutation tests for the gate and the lease. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { killAll } from '../support/mutation/mutation.ts'

const testsOf = (...names: readonly string[]) =>
  names.map((name) => `unit/killswitch/gate/${name}.test.ts`)

const NO_STORE = "no key store is called '', nor has the name of an operation"

t.setTimeout(200_000)

void t.test('the tests detect every mistake in the gate', async (t) => {
  await killAll(t, {
    module: 'src/killswitch/gate/gate.ts',
    tests: testsOf('gate', 'gate-stats'),
    atLeast: 110,
    exceptions: [
      { where: 'stats', name: 'a property is left out', node: "keyStore: ''", reason: NO_STORE },
      { where: 'stats', name: 'a text is another', node: "keyStore: ''", reason: NO_STORE },
    ],
  })
})

void t.test('the tests detect every mistake in the lease', async (t) => {
  const reason = 'a property that is missing counts as NaN, too'
  const name = 'a property is left out'
  await killAll(t, {
    module: 'src/killswitch/gate/lease.ts',
    tests: testsOf('lease'),
    atLeast: 40,
    exceptions: [
      { where: 'createLease', name, node: 'least: NaN', reason },
      { where: 'createLease', name, node: 'most: NaN', reason },
    ],
  })
})
