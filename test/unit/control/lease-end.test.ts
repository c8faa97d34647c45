/** When a lease ends that nobody renewed, what waits is cut: once, and not before. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createGate } from '../../../src/control/gate.ts'
import { createLeaseEnd } from '../../../src/control/lease-end.ts'
import { createRules } from '../../../src/control/rules.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import { eventually } from '../../support/server.ts'

const LEASE_MS = 30

function setUp() {
  const clock = new FakeClock()
  const gate = createGate(clock, LEASE_MS)
  gate.apply(createRules([]), 1)
  let cuts = 0
  const leaseEnd = createLeaseEnd(gate, () => {
    cuts += 1
    return Promise.resolve()
  })
  const renew = () => {
    gate.renew(clock.monotonic())
    leaseEnd.watch()
  }
  return { clock, leaseEnd, renew, cuts: () => cuts }
}

/** Twice as long as the timer waits. */
const pause = () => new Promise((resolve) => setTimeout(resolve, 2 * LEASE_MS))

void t.test(
  'cuts at the end, and again at the end of a lease that was renewed later',
  async (t) => {
    const { clock, renew, cuts } = setUp()
    renew()
    await pause()
    t.equal(cuts(), 0, 'the clock has not moved: the lease is held')
    clock.advance(LEASE_MS - 1)
    renew()
    clock.advance(LEASE_MS - 1)
    await pause()
    t.equal(cuts(), 0, 'a renewal counts')
    clock.advance(1)
    await eventually(() => cuts() === 1)
    await pause()
    t.equal(cuts(), 1, 'once')
    renew()
    clock.advance(LEASE_MS)
    await eventually(() => cuts() === 2)
  },
)

void t.test('says nothing any more when it is stopped', async (t) => {
  const { clock, leaseEnd, renew, cuts } = setUp()
  renew()
  leaseEnd.stop()
  clock.advance(LEASE_MS)
  await pause()
  t.equal(cuts(), 0)
})
