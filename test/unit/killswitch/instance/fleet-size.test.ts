/** Tests that an instance counts as alive while its heartbeat advances, and is removed after a long silence. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { createFleetSize } from '../../../../src/killswitch/instance/fleet-size.ts'
import { sendHeartbeat } from '../../../../src/killswitch/instance/heartbeat.ts'
import { loadInstances, register } from '../../../../src/killswitch/instance/instances.ts'
import { leaseEndMs } from '../../../../src/killswitch/operator/waiting-fleet.ts'
import { FakeClock } from '../../../support/fake-clock.ts'
import { storeFolder } from '../../../support/store.ts'

const LEASE_MS = 2000
/** Longer than any lease, because no instance is removed sooner. */
const SILENCE_MS = 10_001

async function setUp(t: Test) {
  const folder = await storeFolder(t)
  const store = await folder.open()
  const clock = new FakeClock()
  const rollCall = createFleetSize(store, clock)
  let beats = 0
  return {
    ...{ clock, rollCall },
    async join(id: string, group: string, leaseMs = LEASE_MS) {
      const me = { id, group, host: 'h', pid: 1, worker: 0, version: '0', leaseMs }
      await register(store, me, 0)
    },
    beat: (id: string) =>
      sendHeartbeat(
        store,
        { id, leaseMs: LEASE_MS },
        {
          ...{ beat: ++beats, ackedEpoch: 0, ackedTag: '', highEpoch: 0, state: 'open' },
          ...{ reason: null, lastSuccessAt: null, inFlight: 0, renewedBeat: 0, heldMs: 0 },
        },
      ),
    ids: async () => {
      const all = await store.database.snapshot((reader) => loadInstances(reader, store.sealing))
      return all.map(({ id, isDismissed }) => (isDismissed ? `${id} dismissed` : id)).sort()
    },
    tamper: folder.tamper,
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

void t.test('a silent instance is not counted, and is removed later', async (t) => {
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
  t.same(await ids(), ['a1', 'b1 dismissed'])
  t.ok(await beat('b1'), 'it sees the new epoch with its next beat, and registers again')
  await rollCall.take()
  clock.advance(leaseEndMs(LEASE_MS))
  await beat('a1')
  await rollCall.take()
  t.same(await ids(), ['a1', 'b1 dismissed'], 'its last lease may run until now')
  clock.advance(1)
  await rollCall.take()
  t.same(await ids(), ['a1'])
  t.equal(await beat('b1'), undefined, 'it must register again before it goes on')
})

void t.test('one that others hide is dismissed, says so, and stays', async (t) => {
  const { rollCall, clock, join, beat, ids, tamper } = await setUp(t)
  await join('a1', 'a')
  await rollCall.take()
  for (let i = 0; i < 3; i++) {
    clock.advance(SILENCE_MS / 2)
    await beat('a1')
    tamper('DELETE FROM instances')
    await rollCall.take()
  }
  t.same(await ids(), ['a1 dismissed'], 'a row that is missing is silence, not absence')
  await rollCall.take()
  // Registers again, as its poller does when it sees the new epoch.
  await join('a1', 'a')
  clock.advance(leaseEndMs(LEASE_MS) + 1)
  await beat('a1')
  await rollCall.take()
  t.same(await ids(), ['a1'])
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
  t.same(await ids(), ['slow dismissed'])
  await rollCall.take()
  clock.advance(leaseEndMs(60_000) + 1)
  await rollCall.take()
  t.same(await ids(), [])
  t.same(rollCall.fleet, { groups: 1, instances: 1 }, 'whoever asks is there')
})
