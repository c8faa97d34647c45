/** The lease: monotonic time alone, wherever wall time goes; and a machine that slept is noticed. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createLease } from '../../../../src/killswitch/gate/lease.ts'
import { FakeClock } from '../../../support/fake-clock.ts'

function lease() {
  const clock = new FakeClock()
  return { clock, lease: createLease(clock, 2000) }
}

void t.test('is not held before the first renewal, and exactly for its time after it', (t) => {
  const { clock, lease: one } = lease()
  t.notOk(one.isHeld())
  t.equal(one.ageMs(), Infinity)
  t.equal(one.leftMs(), -Infinity)
  const askedAt = clock.monotonic()
  clock.advance(300)
  one.renew(askedAt)
  t.equal(one.ageMs(), 300)
  t.equal(one.leftMs(), 1700)
  clock.advance(1699)
  t.ok(one.isHeld())
  clock.advance(1)
  t.notOk(one.isHeld())
  t.equal(one.leftMs(), 0)
  t.end()
})

void t.test('wall time may jump either way, whenever it likes', (t) => {
  for (const jump of [-86_400_000, -1000, 1000, 86_400_000]) {
    const { clock, lease: one } = lease()
    one.renew(clock.monotonic())
    clock.jumpWallTime(jump)
    t.ok(one.isHeld(), `${String(jump)} ms`)
    clock.advance(1999)
    clock.jumpWallTime(jump)
    t.ok(one.isHeld())
    clock.advance(1)
    clock.jumpWallTime(-jump)
    t.notOk(one.isHeld(), 'nor does it prolong it')
    one.renew(clock.monotonic())
    t.ok(one.isHeld())
  }
  t.end()
})

void t.test(
  'after the machine slept it is lost, until the next answer to a later question',
  (t) => {
    const { clock, lease: one } = lease()
    one.renew(clock.monotonic())
    const askedBefore = clock.monotonic()
    clock.suspend(3_600_000)
    t.notOk(one.isHeld())
    t.notOk(one.isHeld(), 'and stays so')
    clock.advance(10)
    one.renew(clock.monotonic())
    t.ok(one.isHeld())

    const { clock: second, lease: other } = lease()
    other.renew(second.monotonic())
    const asked = second.monotonic()
    second.suspend(3_600_000)
    other.renew(asked)
    t.notOk(other.isHeld(), 'an answer from before the sleep renews nothing')
    other.renew(second.monotonic())
    t.ok(other.isHeld())
    t.ok(askedBefore > 0)
    t.end()
  },
)

void t.test(
  'a process that is held up between two clocks is not taken for a machine that slept',
  (t) => {
    const { clock, lease: one } = lease()
    one.renew(clock.monotonic())
    let delay = 150
    const read = clock.sinceBoot.bind(clock)
    clock.sinceBoot = () => {
      const value = read()
      clock.advance(delay)
      delay = 0
      return value
    }
    clock.jumpWallTime(5000)
    t.ok(one.isHeld())
    t.end()
  },
)
