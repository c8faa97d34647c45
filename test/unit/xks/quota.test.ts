/** Tests a key store's token bucket. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createQuota } from '../../../src/xks/quota.ts'
import { FakeClock } from '../../support/fake-clock.ts'

void t.test('[API-5] allows a burst, then the sustained rate', (t) => {
  const clock = new FakeClock()
  const quota = createQuota({ requestsPerSecond: 10, burst: 3 }, clock)
  t.same([quota.take(), quota.take(), quota.take(), quota.take()], [true, true, true, false])
  clock.advance(99)
  t.equal(quota.take(), false, 'not yet a whole token')
  clock.advance(1)
  t.equal(quota.take(), true)
  t.equal(quota.take(), false)
  clock.advance(60_000)
  t.same([quota.take(), quota.take(), quota.take(), quota.take()], [true, true, true, false])
  clock.jumpWallTime(3_600_000)
  t.equal(quota.take(), false, 'setting the wall clock fills nothing')
  t.end()
})
