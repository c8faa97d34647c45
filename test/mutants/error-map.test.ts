/** Mistakes that can be made in xks/error-map.ts, which says how much a caller learns. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { killAll } from '../support/mutation/mutation.ts'

t.setTimeout(200_000)

void t.test('no mistake in xks/error-map.ts goes unseen', async (t) => {
  await killAll(t, {
    module: 'src/xks/error-map.ts',
    tests: ['unit/xks/errors.test.ts'],
    atLeast: 60,
  })
})
