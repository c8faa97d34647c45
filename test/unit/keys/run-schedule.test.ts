/** Tests when index runs begin, and which keys completed runs have reported for certain. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { RunSchedule } from '../../../src/keys/pkcs11/pool/run-schedule.ts'

const REFRESH_MS = 60_000

/** Returns a function that runs once, after the delay that the previous run returned. */
function schedule(refreshMs = REFRESH_MS) {
  const clock = { now: 0 }
  const runs = new RunSchedule(refreshMs, () => clock.now)
  return {
    runs,
    run(appeared: number) {
      runs.begin()
      const begunAt = clock.now
      const { isRegular } = runs
      const delayMs = runs.complete(appeared)
      clock.now += delayMs
      return { begunAt, isRegular, delayMs }
    },
  }
}

void t.test('runs come less and less often while keys keep appearing', async (t) => {
  const { run } = schedule()
  const first = Array.from({ length: 5 }, () => run(1))
  t.same(
    first.map(({ delayMs }) => delayMs),
    [1000, 2000, 4000, 8000, 16_000],
  )
  t.same(
    first.map(({ isRegular }) => isRegular),
    [true, false, false, false, false],
  )
  for (let i = 0; i < 4; i++) run(1)
  const later = Array.from({ length: 5 }, () => run(1))
  t.ok(later.every(({ isRegular }) => isRegular))
  t.ok(later.every(({ delayMs }) => delayMs >= 0.9 * REFRESH_MS))
})

void t.test('a regular run comes at its time, whatever appears before', async (t) => {
  const { run } = schedule()
  run(1)
  t.equal(run(0).isRegular, false)
  const next = run(0)
  t.equal(next.isRegular, true)
  t.ok(next.begunAt >= 0.9 * REFRESH_MS && next.begunAt <= 1.1 * REFRESH_MS)
  run(1)
  t.equal(run(1).delayMs, 2000, 'the delay starts again at a second once nothing has appeared')
})

void t.test('keys that have appeared are never read within a second', async (t) => {
  const { run } = schedule(300)
  for (let i = 0; i < 5; i++) t.equal(run(1).delayMs, 1000)
  t.ok(run(0).delayMs < 400)
})

void t.test('keys that a run leaves to the next run are not certain yet', async (t) => {
  const { runs, run } = schedule()
  const first = run(0)
  t.equal(runs.readUntil, first.begunAt)
  const second = run(1)
  t.equal(runs.readUntil, first.begunAt)
  const third = run(1)
  t.equal(runs.readUntil, second.begunAt, 'the run that follows has read them')
  runs.begin()
  runs.fail()
  run(1)
  t.equal(runs.readUntil, second.begunAt, 'a run that failed may not have read them')
  const last = run(0)
  t.equal(runs.readUntil, last.begunAt)
  t.ok(last.begunAt > third.begunAt)
})
