/** Tests background work: only one run at a time, a pause between runs, and a stop that waits for the last run. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { periodic, type Schedule } from '../../../src/core/periodic.ts'

/** Creates timers that the test fires. */
function createTimers() {
  let due: (() => void) | undefined
  const delays: number[] = []
  const schedule: Schedule = (run, delayMs) => {
    delays.push(delayMs)
    due = run
    return () => {
      if (due === run) due = undefined
    }
  }
  return {
    schedule,
    delays,
    isSet: () => due !== undefined,
    fire() {
      const run = due
      due = undefined
      run?.()
    },
  }
}

const settle = () => new Promise((resolve) => setImmediate(resolve))
const fail = (error: unknown) => {
  throw error
}

/** Creates work whose runs finish when the test completes them. */
function createWork() {
  const ends: (() => void)[] = []
  return {
    ends,
    work: () =>
      new Promise<void>((resolve) => {
        ends.push(resolve)
      }),
  }
}

void t.test('a run starts one interval after the end of the one before', async (t) => {
  const timers = createTimers()
  const { ends, work } = createWork()
  periodic({ intervalMs: 250, work, onError: fail, schedule: timers.schedule })
  t.equal(ends.length, 0, 'the first run is not immediate')
  timers.fire()
  await settle()
  t.equal(ends.length, 1)
  t.notOk(timers.isSet(), 'no timer while it runs')
  ends[0]?.()
  await settle()
  t.ok(timers.isSet())
  t.same(timers.delays, [250, 250])
})

void t.test('a run that fails is reported, and the next one takes place', async (t) => {
  const timers = createTimers()
  const errors: unknown[] = []
  let runs = 0
  periodic({
    intervalMs: 1,
    work: () => {
      runs += 1
      throw new Error(`run ${String(runs)}`)
    },
    onError: (error) => errors.push((error as Error).message),
    schedule: timers.schedule,
  })
  timers.fire()
  await settle()
  timers.fire()
  await settle()
  t.same(errors, ['run 1', 'run 2'])
})

void t.test('runNow waits for the run in progress instead of overlapping it', async (t) => {
  const timers = createTimers()
  const { ends, work } = createWork()
  const loop = periodic({ intervalMs: 1, work, onError: fail, schedule: timers.schedule })
  timers.fire()
  const extra = loop.runNow()
  await settle()
  t.equal(ends.length, 1)
  ends[0]?.()
  await settle()
  t.equal(ends.length, 2)
  ends[1]?.()
  await extra
})

void t.test('stop waits for the run in progress, and no run follows', async (t) => {
  const timers = createTimers()
  const { ends, work } = createWork()
  const loop = periodic({ intervalMs: 1, work, onError: fail, schedule: timers.schedule })
  timers.fire()
  await settle()
  let stopped = false
  const stop = loop.stop().then(() => {
    stopped = true
  })
  await settle()
  t.notOk(stopped)
  ends[0]?.()
  await stop
  await loop.runNow()
  t.equal(ends.length, 1)
  t.notOk(timers.isSet())
})

void t.test('stop between two runs clears the timer', async (t) => {
  const timers = createTimers()
  const loop = periodic({
    intervalMs: 1,
    work: () => undefined,
    onError: fail,
    schedule: timers.schedule,
  })
  await loop.stop()
  t.notOk(timers.isSet())
})
