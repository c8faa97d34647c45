/** Tests that an instance counts as alive while its heartbeats advance, and is removed after a long silence. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { createFleetSize } from '../../../../src/killswitch/instance/fleet-size.ts'
import { sendHeartbeat } from '../../../../src/killswitch/instance/heartbeat.ts'
import { loadInstances, register } from '../../../../src/killswitch/instance/instances.ts'
import { leaseEndMs } from '../../../../src/killswitch/operator/waiting-fleet.ts'
import { FakeClock } from '../../../support/fake-clock.ts'
import { storeFolder } from '../../../support/store.ts'

const LEASE_MS = 2000
/** Just over the shortest silence after which an instance is removed. */
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
    beat: (id: string, reason: string | null = null) =>
      sendHeartbeat(
        store,
        { id, leaseMs: LEASE_MS },
        {
          ...{ beat: ++beats, ackedEpoch: 0, ackedTag: '', highEpoch: 0, state: 'open' },
          ...{ reason, lastSuccessAt: null, inFlight: 0, renewedBeat: 0, heldMs: 0 },
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

void t.test(
  'an instance whose row is hidden is dismissed, reports that, and stays dismissed',
  async (t) => {
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
    // Register again, as the instance's poller does when it sees the new epoch.
    await join('a1', 'a')
    clock.advance(leaseEndMs(LEASE_MS) + 1)
    await beat('a1')
    await rollCall.take()
    t.same(await ids(), ['a1'])
  },
)

void t.test('an instance with a long lease is waited for', async (t) => {
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

void t.test('an instance that finds the store changed alerts the others', async (t) => {
  const { rollCall, clock, join, beat, tamper } = await setUp(t)
  await join('a1', 'a')
  await join('b1', 'b')
  const isAlarmed = async () => {
    await rollCall.take()
    return rollCall.isAlarmed
  }
  await beat('b1', 'LEASE_EXPIRED')
  t.equal(await isAlarmed(), false, 'another reason alarms nobody')
  tamper("UPDATE instances SET reason = 'STORE_LOST'")
  t.equal(await isAlarmed(), false, 'nor does a heartbeat without its code')
  await beat('b1', 'STORE_LOST')
  t.equal(await isAlarmed(), true)
  clock.advance(leaseEndMs(LEASE_MS))
  t.equal(await isAlarmed(), false, 'one that is silent alarms nobody any more')
  await beat('b1', 'STORE_LOST')
  t.equal(await isAlarmed(), true)
  await beat('b1')
  t.equal(await isAlarmed(), false, 'the store is again as it was')
})

void t.test('an unchanged fleet costs one statement that reads nothing but beats', async (t) => {
  const folder = await storeFolder(t)
  const store = await folder.open()
  const read: string[] = []
  let snapshots = 0
  const { database } = store
  const counted: typeof database = {
    ...database,
    nowSql: database.nowSql,
    read(sql, parameters) {
      read.push(sql)
      return database.read(sql, parameters)
    },
    snapshot(work) {
      snapshots += 1
      return database.snapshot(work)
    },
  }
  const rollCall = createFleetSize({ ...store, database: counted }, folder.clock)
  const join = (id: string) =>
    register(
      store,
      { id, group: id, host: 'h', pid: 1, worker: 0, version: '0', leaseMs: LEASE_MS },
      0,
    )
  const take = async () => {
    read.length = 0
    snapshots = 0
    await rollCall.take()
    return { snapshots, statements: read.length, isWhole: read.some((sql) => sql.includes('*')) }
  }
  for (let i = 0; i < 20; i++) await join(`i${String(i)}`)
  t.same(await take(), { snapshots: 1, statements: 1, isWhole: false }, 'the registrations, once')
  t.same(await take(), { snapshots: 0, statements: 1, isWhole: false })
  t.equal(rollCall.fleet.instances, 20)
  await join('late')
  t.same(await take(), { snapshots: 1, statements: 1, isWhole: false })
  t.equal(rollCall.fleet.instances, 21)
})
