/**
 * Tests that, once the clocks agree, one instance lifts a timed switch or records a lapse on behalf of all instances.
 */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { createExpiry } from '../../../../src/killswitch/instance/expiry.ts'
import {
  closeDeadManSwitch,
  renewDeadManSwitch,
  startDeadManSwitch,
} from '../../../../src/killswitch/operator/dead-man-switch.ts'
import { kill } from '../../../../src/killswitch/operator/kill.ts'
import { loadStatus } from '../../../../src/killswitch/operator/status.ts'
import { FakeClock } from '../../../support/fake-clock.ts'
import { storeFolder } from '../../../support/store.ts'

const HOUR_MS = 3_600_000
const TTL_MS = 1000

/** @param aheadMs how far this instance's wall clock is ahead of the database's */
async function setUp(t: Test, aheadMs: number) {
  const store = await (await storeFolder(t)).open()
  const clock = new FakeClock(Date.now() + aheadMs)
  const until = clock.now() + TTL_MS
  const order = {
    scope: { kind: 'all' },
    direction: 'both',
    reason: 'why',
    operator: 'who',
  } as const
  await kill(store, clock, { ...order, until })
  await kill(store, clock, order)
  const expiry = createExpiry({ store, clock, operator: 'instance x' })
  return {
    ...{ store, clock, expiry },
    left: async () => (await loadStatus(store, 0)).switches.length,
    events: async () => (await loadStatus(store, 10)).events.map(({ kind }) => kind),
  }
}

void t.test(
  'a switch expires with elapsed time, not when the wall clock jumps ahead',
  async (t) => {
    const { clock, expiry, left, events, store } = await setUp(t, -HOUR_MS)
    await expiry.run()
    clock.jumpWallTime(24 * HOUR_MS)
    await expiry.run()
    t.equal(await left(), 2)
    clock.advance(TTL_MS - 1)
    await expiry.run()
    t.equal(await left(), 2)
    clock.advance(1)
    await expiry.run()
    t.equal(await left(), 1, 'and the one without an end stays')
    t.same(await events(), ['expired', 'kill', 'kill'])
    t.match(await loadStatus(store, 1), { events: [{ operator: 'instance x' }] })
  },
)

void t.test(
  "a switch expires only when both this host's and the database's clock agree",
  async (t) => {
    const { clock, expiry, left } = await setUp(t, HOUR_MS)
    await expiry.run()
    clock.advance(2 * TTL_MS)
    await expiry.run()
    t.equal(await left(), 2, 'ours is an hour ahead')
    const other = await setUp(t, -HOUR_MS)
    await other.expiry.run()
    t.equal(await other.left(), 2, 'ours is an hour behind')
  },
)

void t.test('a switch that ended while no instance ran is lifted at the first check', async (t) => {
  const { clock, expiry, left } = await setUp(t, -HOUR_MS)
  clock.advance(2 * TTL_MS)
  await expiry.run()
  t.equal(await left(), 1)
})

void t.test('only one of several instances lifts an expired switch', async (t) => {
  const { clock, expiry, store, events } = await setUp(t, -HOUR_MS)
  const other = createExpiry({ store, clock, operator: 'instance y' })
  await Promise.all([expiry.run(), other.run()])
  clock.advance(TTL_MS)
  await Promise.all([expiry.run(), other.run()])
  t.equal((await events()).filter((kind) => kind === 'expired').length, 1)
})

const POLICY = { people: 1, delayMs: 0, expiresMs: HOUR_MS } as const
const OWNER = {
  ...{ keyStore: 'demo', reason: 'why', operator: 'who', identity: 'os:who', mayRestore: true },
}

async function startSwitch(t: Test, ttlMs: number) {
  const store = await (await storeFolder(t)).open()
  const clock = new FakeClock(Date.now() + HOUR_MS)
  const deps = { store, clock, policy: POLICY }
  await startDeadManSwitch(deps, { ...OWNER, ttlMs })
  const create = (operator: string) => createExpiry({ store, clock, operator })
  const lapses = async () =>
    (await loadStatus(store, 20)).events.filter(({ kind }) => kind === 'deadman-lapsed')
  return { store, deps, create, lapses }
}

void t.test("the lapse of a dead man's switch is recorded once, by one of several", async (t) => {
  const { deps, create, lapses } = await startSwitch(t, 1)
  // A test cannot set the database's own clock, so wait until a millisecond has passed.
  const instances = [create('instance x'), create('instance y')]
  const run = () => Promise.all(instances.map((one) => one.run()))
  while ((await lapses()).length === 0) await run()
  await run()
  await create('instance z, started later').run()
  t.match(await lapses(), [
    {
      operator: /^instance [xy]$/,
      detail: {
        keyStore: 'demo',
        reason: "the dead man's switch was not renewed in time",
        openUntil: /Z$/,
      },
    },
  ])
  t.equal((await lapses()).length, 1)

  await renewDeadManSwitch(deps, OWNER)
  while ((await lapses()).length === 1) await run()
  await run()
  t.equal((await lapses()).length, 2, 'a later lapse is another event')
})

void t.test('a switch that is open, or that a command closed, has not lapsed', async (t) => {
  const { deps, create, lapses } = await startSwitch(t, HOUR_MS)
  const expiry = create('instance x')
  await expiry.run()
  t.same(await lapses(), [], 'ours is an hour ahead, the clock of the database is not')
  await closeDeadManSwitch(deps, OWNER)
  await expiry.run()
  t.same(await lapses(), [])
})
