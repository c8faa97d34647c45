/** Tests the time budget that the calls of one request share. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { Deadline, DeadlineExceeded } from '../../../src/core/deadline.ts'
import { FakeClock } from '../../support/fake-clock.ts'

void t.test('remaining time shrinks with the monotonic clock, not with wall time', (t) => {
  const clock = new FakeClock()
  const deadline = new Deadline(clock, 100)
  clock.jumpWallTime(3_600_000)
  t.equal(deadline.remainingMs, 100)
  clock.advance(60)
  t.equal(deadline.remainingMs, 40)
  clock.advance(60)
  t.equal(deadline.remainingMs, -20)
  t.end()
})

void t.test('a budget can start in the past, and is used up when the caller has gone', (t) => {
  const clock = new FakeClock()
  const startedAt = clock.monotonic()
  clock.advance(30)
  let isGone = false
  const deadline = new Deadline(clock, 100, { startedAt, isGone: () => isGone })
  t.equal(deadline.remainingMs, 70)
  isGone = true
  t.equal(deadline.remainingMs, 0)
  t.equal(deadline.signal.aborted, true)
  t.end()
})

void t.test('the signal of a spent budget is aborted from the start', (t) => {
  const clock = new FakeClock()
  const deadline = new Deadline(clock, 10)
  clock.advance(10)
  t.equal(deadline.signal.aborted, true)
  t.ok(deadline.signal.reason instanceof DeadlineExceeded)
  t.end()
})

void t.test('race gives the work a chance, then rejects', async (t) => {
  const clock = new FakeClock()
  t.equal(await new Deadline(clock, 1000).race(Promise.resolve(7)), 7)
  await t.rejects(new Deadline(clock, 1000).race(Promise.reject(new Error('no'))), {
    message: 'no',
  })
  const never = new Promise(() => undefined)
  await t.rejects(new Deadline(clock, 1).race(never), { name: 'DeadlineExceeded' })
})
