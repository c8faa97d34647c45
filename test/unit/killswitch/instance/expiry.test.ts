/** Tests that a timed switch is lifted when three clocks agree, by one instance for all. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { createExpiry } from '../../../../src/killswitch/instance/expiry.ts'
import { kill } from '../../../../src/killswitch/operator/kill.ts'
import { loadStatus } from '../../../../src/killswitch/operator/status.ts'
import { FakeClock } from '../../../support/fake-clock.ts'
import { storeFolder } from '../../../support/store.ts'

const HOUR_MS = 3_600_000
const TTL_MS = 1000

/** @param aheadMs how far our wall clock is ahead of the database's */
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

void t.test('not by a wall clock that jumps ahead, but by time that goes by', async (t) => {
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
})

void t.test('not before the clock of the database, and not by it alone', async (t) => {
  const { clock, expiry, left } = await setUp(t, HOUR_MS)
  await expiry.run()
  clock.advance(2 * TTL_MS)
  await expiry.run()
  t.equal(await left(), 2, 'ours is an hour ahead')
  const other = await setUp(t, -HOUR_MS)
  await other.expiry.run()
  t.equal(await other.left(), 2, 'ours is an hour behind')
})

void t.test('one that ended while nobody watched is lifted at the first look', async (t) => {
  const { clock, expiry, left } = await setUp(t, -HOUR_MS)
  clock.advance(2 * TTL_MS)
  await expiry.run()
  t.equal(await left(), 1)
})

void t.test('of several instances one does it', async (t) => {
  const { clock, expiry, store, events } = await setUp(t, -HOUR_MS)
  const other = createExpiry({ store, clock, operator: 'instance y' })
  await Promise.all([expiry.run(), other.run()])
  clock.advance(TTL_MS)
  await Promise.all([expiry.run(), other.run()])
  t.equal((await events()).filter((kind) => kind === 'expired').length, 1)
})
