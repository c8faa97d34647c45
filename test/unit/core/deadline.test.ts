/** Tests the time budget shared by all calls within a request. */
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

void t.test('races that run at the same time each end at their own deadline', async (t) => {
  const never = new Promise(() => undefined)
  const startedAt = performance.now()
  // A race that starts later may end first. A race that is won must neither end nor prolong the others.
  const races = [60, 10, 30].map(async (ms) => {
    await t.rejects(new Deadline(new FakeClock(), ms).race(never), { name: 'DeadlineExceeded' })
    t.ok(performance.now() - startedAt >= ms, 'not before its deadline')
  })
  t.equal(await new Deadline(new FakeClock(), 20).race(Promise.resolve(7)), 7)
  await Promise.all(races)
})

void t.test('a race that is won does not keep the process alive', async (t) => {
  const timeouts = () =>
    process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length
  const before = timeouts()
  const deadline = new Deadline(new FakeClock(), 60_000)
  const winning = deadline.race(Promise.resolve(7))
  t.equal(timeouts(), before + 1)
  await winning
  t.equal(timeouts(), before)
  t.equal(await deadline.race(Promise.resolve(8)), 8)
  t.equal(timeouts(), before)
})
