/**
 * Tests that the lease relies only on monotonic time, regardless of the wall clock, and detects a machine that has
 * slept.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createLease } from '../../../../src/killswitch/gate/lease.ts'
import { FakeClock } from '../../../support/fake-clock.ts'

function lease() {
  const clock = new FakeClock()
  return { clock, lease: createLease(clock, 2000) }
}

/** Returns a renewed lease, and a counter of subsequent boot clock reads. */
function renewed(delays: readonly number[] = []) {
  const { clock, lease: one } = lease()
  one.renew(clock.monotonic())
  const left = [...delays]
  const reads = { count: 0 }
  const read = clock.sinceBoot.bind(clock)
  clock.sinceBoot = () => {
    reads.count += 1
    const value = read()
    clock.advance(left.shift() ?? 0)
    return value
  }
  return { clock, lease: one, reads }
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

void t.test('jumps of the wall clock in either direction do not matter', (t) => {
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
  'the lease is lost after the machine slept, until the response to a later renewal',
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
    t.notOk(other.isHeld(), 'a response to a renewal sent before the sleep renews nothing')
    other.renew(second.monotonic())
    t.ok(other.isHeld())
    t.ok(askedBefore > 0)
    t.end()
  },
)

void t.test('a sleep of 100 ms ends it; a shorter one may be the difference of two clocks', (t) => {
  const { clock, lease: one } = renewed()
  clock.suspend(99)
  t.ok(one.isHeld())
  const { clock: second, lease: other } = renewed()
  second.suspend(100)
  t.notOk(other.isHeld())
  t.end()
})

void t.test('the time since boot is read only after a jump of wall time, once for each', (t) => {
  const { clock, lease: one, reads } = renewed()
  clock.advance(500)
  clock.jumpWallTime(99)
  t.ok(one.isHeld())
  t.equal(reads.count, 0)
  for (const jump of [1, -5000, 5000, 100]) {
    reads.count = 0
    clock.jumpWallTime(jump)
    t.ok(one.isHeld())
    t.equal(reads.count, 1, `${String(jump)} ms`)
    t.ok(one.isHeld())
    t.equal(reads.count, 1, 'the new difference of the clocks is remembered')
  }
  t.end()
})

void t.test(
  'a process that is delayed between reading two clocks is not mistaken for a machine that slept',
  (t) => {
    for (const delay of [25, 150]) {
      const { clock, lease: one, reads } = renewed([delay])
      clock.jumpWallTime(5000)
      t.ok(one.isHeld())
      t.equal(reads.count, 2, `held up for ${String(delay)} ms, it reads again`)
    }
    const { clock, lease: one, reads } = renewed(Array<number>(100).fill(150))
    clock.jumpWallTime(5000)
    t.ok(one.isHeld())
    t.equal(reads.count, 5, 'held up each time, it gives up after five')
    t.end()
  },
)
