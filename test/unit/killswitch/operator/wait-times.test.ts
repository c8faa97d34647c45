/** Tests how often a kill reads the instances, and how long it waits for them, using a timer that the test controls. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import { mock } from 'node:test'
import t, { type Test } from 'tap'
import { kill } from '../../../../src/killswitch/operator/kill.ts'
import { waitForRevocation } from '../../../../src/killswitch/operator/wait.ts'
import { leaseEndMs } from '../../../../src/killswitch/operator/waiting-fleet.ts'
import type { Heartbeat } from '../../../../src/killswitch/instance/heartbeat.ts'
import { register } from '../../../../src/killswitch/instance/instances.ts'
import type { Database } from '../../../../src/store/database.ts'
import {
  beatOf,
  identity,
  LEASE_MS,
  NOTHING_SEEN,
  ORDER,
  say,
} from '../../../contract/control-fixture.ts'
import { storeFolder } from '../../../support/store.ts'

const DOCUMENT = readFileSync('docs/revocation.md', 'utf8').replaceAll(/\s+/g, ' ')
const LOOK_EVERY_MS = Number(/The kill reads the instances every (\d+) ms/.exec(DOCUMENT)?.[1])
const LATE_MS = Number(/at most the longest lease, its margin, and (\d+) ms/.exec(DOCUMENT)?.[1])
const FEW_TURNS = 20

async function turns(): Promise<void> {
  for (let i = 0; i < FEW_TURNS; i++) await new Promise((resolve) => setImmediate(resolve))
}

function watch<T>(waiting: Promise<T>) {
  let isOver = false
  return {
    waiting: waiting.finally(() => {
      isOver = true
    }),
    isOver: () => isOver,
  }
}

/** Prepares a kill that waits for an instance that does not acknowledge it. The test answers each read of the store. */
async function setUp(t: Test) {
  const folder = await storeFolder(t)
  const { clock } = folder
  const store = await folder.open()
  await register(store, identity('a'), 0)
  const done = await kill(store, clock, ORDER)
  let reads = 0
  let answers = 0
  let answer: Database['snapshot'] = async (work) => {
    const found = await store.database.snapshot(work)
    answers += 1
    return found
  }
  const database: Database = {
    ...store.database,
    nowSql: store.database.nowSql,
    snapshot(work) {
      reads += 1
      return answer(work)
    },
  }
  mock.timers.enable({ apis: ['setTimeout'] })
  t.teardown(() => {
    mock.timers.reset()
  })
  return {
    clock,
    store,
    reads: () => reads,
    answers: () => answers,
    /** Leaves every read unanswered from now on. */
    hold() {
      answer = () => new Promise(() => undefined)
    },
    wait: () =>
      waitForRevocation({ store: { ...store, database }, clock, leaseMs: LEASE_MS }, done),
  }
}

void t.test('a kill reads the instances as often as the document says', async (t) => {
  const { clock, wait, reads, answers } = await setUp(t)
  const { waiting, isOver } = watch(wait())
  for (let count = 1; count <= 3; count++) {
    // The pause begins once the store has answered.
    while (answers() < count) await turns()
    await turns()
    mock.timers.tick(LOOK_EVERY_MS - 1)
    await turns()
    t.equal(reads(), count)
    mock.timers.tick(1)
    await turns()
    t.equal(reads(), count + 1)
  }
  clock.advance(leaseEndMs(LEASE_MS) + 1)
  while (!isOver()) {
    mock.timers.tick(LOOK_EVERY_MS)
    await turns()
  }
  t.match((await waiting).instances, [{ how: 'lease-ended' }])
})

void t.test(
  'a store that does not answer delays the end of a lease by what is documented',
  async (t) => {
    const { clock, wait, hold } = await setUp(t)
    hold()
    const { waiting, isOver } = watch(wait())
    await turns()
    const tick = async () => {
      clock.advance(1)
      mock.timers.tick(1)
      await turns()
    }
    for (let ms = 0; ms < leaseEndMs(LEASE_MS); ms++) await tick()
    t.notOk(isOver())
    let late = 0
    for (; !isOver() && late <= LATE_MS; late++) await tick()
    t.ok(isOver(), `not after ${String(LATE_MS)} ms`)
    t.match((await waiting).instances, [{ how: 'lease-ended' }])
  },
)

void t.test('a lease that a poll renewed at the moment of the commit is waited for', async (t) => {
  const { clock, store, wait, answers } = await setUp(t)
  /** Sends a heartbeat while the test moves the timers on. */
  const beat = async (heart: Heartbeat) => {
    const said = watch(say(store, 'a', heart))
    while (!said.isOver()) {
      mock.timers.tick(1)
      await turns()
    }
  }
  await beat(beatOf(5, NOTHING_SEEN))
  const { waiting, isOver } = watch(wait())
  const look = async () => {
    for (const before = answers(); answers() < before + 2 && !isOver();) {
      mock.timers.tick(LOOK_EVERY_MS)
      await turns()
    }
  }
  await look()
  clock.advance(LEASE_MS)
  // This poll's answer may be older than the commit, and its row newer than the first look.
  await beat({ ...beatOf(7, NOTHING_SEEN), renewedBeat: 6 })
  await look()
  clock.advance(leaseEndMs(LEASE_MS) - 1)
  await look()
  t.notOk(isOver(), 'the lease runs from the time at which its renewal was seen')
  clock.advance(2)
  await look()
  t.ok(isOver())
  t.match((await waiting).instances, [{ how: 'lease-ended' }])
})
