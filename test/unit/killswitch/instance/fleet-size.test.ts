/** Who counts as alive is judged by a beat that changes; who is silent long enough is struck off. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import {
  listInstances,
  register,
  sendHeartbeat,
} from '../../../../src/killswitch/instance/instances.ts'
import { leaseEndMs } from '../../../../src/killswitch/operator/kill.ts'
import { createFleetSize } from '../../../../src/killswitch/instance/fleet-size.ts'
import { FakeClock } from '../../../support/fake-clock.ts'
import { storeFolder } from '../../../support/store.ts'

const LEASE_MS = 2000
/** Longer than any lease: nobody is struck off sooner. */
const SILENCE_MS = 10_001

async function setUp(t: Test) {
  const { database } = await (await storeFolder(t)).open()
  const clock = new FakeClock()
  const rollCall = createFleetSize(database, clock)
  let beats = 0
  return {
    ...{ clock, rollCall },
    async join(id: string, group: string, leaseMs = LEASE_MS) {
      const me = { id, group, host: 'h', pid: 1, worker: 0, version: '0', leaseMs }
      await register(database, me, 0)
    },
    beat: (id: string) =>
      sendHeartbeat(database, id, {
        ...{ beat: ++beats, ackedEpoch: 0, highEpoch: 0, state: 'open', reason: null },
        ...{ lastSuccessAt: null, inFlight: 0 },
      }),
    ids: async () => (await database.snapshot(listInstances)).map(({ id }) => id).sort(),
  }
}

void t.test('workers are instances, and each serve with them is one of the fleet', async (t) => {
  const { rollCall, join } = await setUp(t)
  t.same(rollCall.fleet, { groups: 1, instances: 1 }, 'nobody has looked')
  await join('a1', 'a')
  await join('a2', 'a')
  await join('b1', 'b')
  await rollCall.take()
  t.same(rollCall.fleet, { groups: 2, instances: 3 })
})

void t.test('who is silent is not counted, and is struck off later', async (t) => {
  const { rollCall, clock, join, beat, ids } = await setUp(t)
  await join('a1', 'a')
  await join('b1', 'b')
  await rollCall.take()
  clock.advance(leaseEndMs(LEASE_MS))
  await beat('a1')
  await rollCall.take()
  t.same(rollCall.fleet, { groups: 1, instances: 1 })
  t.same(await ids(), ['a1', 'b1'], 'a busy machine is not a dead one')
  await beat('b1')
  await rollCall.take()
  t.same(rollCall.fleet, { groups: 2, instances: 2 }, 'one that comes back counts again')
  clock.advance(SILENCE_MS)
  await beat('a1')
  await rollCall.take()
  t.same(await ids(), ['a1'])
  t.equal(await beat('b1'), undefined, 'it must register again before it goes on')
})

void t.test('one with a long lease is waited for', async (t) => {
  const { rollCall, clock, join, ids } = await setUp(t)
  await join('slow', 'a', 60_000)
  await rollCall.take()
  clock.advance(SILENCE_MS)
  await rollCall.take()
  t.same(await ids(), ['slow'])
  t.same(rollCall.fleet, { groups: 1, instances: 1 })
  clock.advance(60_000)
  await rollCall.take()
  t.same(await ids(), [])
  t.same(rollCall.fleet, { groups: 1, instances: 1 }, 'whoever asks is there')
})
