/** Mutation tests for xks/error-map.ts, which determines how much an error reveals to the caller. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { killAll } from '../support/mutation/mutation.ts'

t.setTimeout(200_000)

void t.test('the tests detect every mistake in xks/error-map.ts', async (t) => {
  await killAll(t, {
    module: 'src/xks/error-map.ts',
    tests: ['unit/xks/errors.test.ts'],
    atLeast: 60,
  })
})
