/** The poller takes up each change once, says an outage once, and tells how fresh its knowledge is. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { createEpochPoller } from '../../../src/control/epoch-poller.ts'
import type { Database } from '../../../src/storage/database.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import { eventually } from '../../support/server.ts'

interface Stage {
  /** What the store says next, and each time after. */
  epoch: () => Promise<number>
  onChange: (epoch: number) => Promise<void>
}

function pollerOn(t: Test, stage: Stage, intervalMs = 3_600_000) {
  const clock = new FakeClock()
  const taken: number[] = []
  const said: (readonly [string, unknown])[] = []
  let polls = 0
  const poller = createEpochPoller({
    clock,
    intervalMs,
    database: {
      epoch: () => {
        polls += 1
        return stage.epoch()
      },
    } as unknown as Database,
    async onChange(epoch) {
      await stage.onChange(epoch)
      taken.push(epoch)
    },
    warn: (message, fields) => said.push([message, fields]),
  })
  t.teardown(() => poller.stop())
  return { poller, clock, taken, said, polls: () => polls }
}

const fine = (epoch: number): Stage => ({
  epoch: () => Promise.resolve(epoch),
  onChange: () => Promise.resolve(),
})

const LOST = 'the control store cannot be read'
const BACK = 'the control store is readable again'

void t.test('the first poll takes up what is there, and later ones only changes', async (t) => {
  const stage = fine(5)
  const { poller, taken, said, polls } = pollerOn(t, stage, 1)
  await poller.start()
  t.same(taken, [5], 'start has waited for it')
  const then = polls()
  await eventually(() => polls() > then + 3)
  t.same(taken, [5])
  stage.epoch = () => Promise.resolve(6)
  await eventually(() => taken.length === 2)
  stage.epoch = () => Promise.resolve(3)
  await eventually(() => taken.length === 3)
  t.same(taken, [5, 6, 3], 'a store that was restored is a change too')
  t.same(said, [])
})

void t.test('an outage is said once, and so is its end; what is known stays known', async (t) => {
  const stage = fine(1)
  const { poller, taken, said, polls } = pollerOn(t, stage, 1)
  await poller.start()
  const failure = new Error('disk')
  stage.epoch = () => Promise.reject(failure)
  const then = polls()
  await eventually(() => polls() > then + 5)
  t.same(said, [[LOST, { err: failure }]])
  stage.epoch = () => Promise.resolve(1)
  await eventually(() => said.length === 2)
  t.same(said[1], [BACK, { epoch: 1 }])
  t.same(taken, [1], 'nothing had changed meanwhile')
  stage.epoch = () => Promise.reject(failure)
  await eventually(() => said.length === 3)
  t.equal(said[2]?.[0], LOST, 'the next outage is said again')
})

void t.test('a change that could not be taken up is tried again at each poll', async (t) => {
  const stage = fine(1)
  const { poller, taken, said } = pollerOn(t, stage, 1)
  await poller.start()
  let tries = 0
  stage.epoch = () => Promise.resolve(2)
  stage.onChange = () => (++tries < 4 ? Promise.reject(new Error('tampered')) : Promise.resolve())
  await eventually(() => taken.length === 2)
  t.same(taken, [1, 2])
  t.equal(tries, 4)
  t.same(
    said.map(([message]) => message),
    [LOST, BACK],
  )
})

void t.test('a start in an outage does not reject, and recovers', async (t) => {
  const stage = fine(1)
  stage.epoch = () => Promise.reject(new Error('disk'))
  const { poller, taken, said } = pollerOn(t, stage, 1)
  await poller.start()
  t.equal(poller.lastSuccessAt, -Infinity)
  t.equal(said.length, 1)
  stage.epoch = () => Promise.resolve(1)
  await eventually(() => taken.length === 1)
})

void t.test('freshness counts from before the question, and only successes count', async (t) => {
  const stage = fine(1)
  const { poller, clock } = pollerOn(t, stage)
  t.equal(poller.lastSuccessAt, -Infinity)
  const askedAt = clock.monotonic()
  stage.epoch = () => {
    clock.advance(100)
    return Promise.resolve(1)
  }
  stage.onChange = () => {
    clock.advance(100)
    return Promise.resolve()
  }
  await poller.start()
  t.equal(poller.lastSuccessAt, askedAt)

  for (const broken of [
    { ...fine(2), epoch: () => Promise.reject(new Error('disk')) },
    { ...fine(2), onChange: () => Promise.reject(new Error('tampered')) },
  ]) {
    Object.assign(stage, broken)
    await poller.start()
    t.equal(poller.lastSuccessAt, askedAt)
  }
  Object.assign(stage, fine(2))
  clock.advance(1)
  await poller.start()
  t.equal(poller.lastSuccessAt, clock.monotonic())
})

void t.test('one poll at a time, however slow it is', async (t) => {
  const stage = fine(1)
  let running = 0
  let most = 0
  stage.epoch = async () => {
    most = Math.max(most, ++running)
    await new Promise((resolve) => setTimeout(resolve, 5))
    running -= 1
    return 1
  }
  const { poller, polls } = pollerOn(t, stage, 1)
  await poller.start()
  await eventually(() => polls() > 5)
  t.equal(most, 1)
})

void t.test('stop waits for the poll that runs, and there is none after it', async (t) => {
  const stage = fine(1)
  const { poller, polls } = pollerOn(t, stage, 1)
  await poller.start()
  let release: () => void = () => undefined
  let answered = false
  stage.epoch = () =>
    new Promise((resolve) => {
      release = () => {
        answered = true
        resolve(1)
      }
    })
  const then = polls()
  await eventually(() => polls() > then)
  const stopping = poller.stop()
  setImmediate(release)
  await stopping
  t.ok(answered)
  const last = polls()
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.equal(polls(), last)
  await poller.stop()
})
