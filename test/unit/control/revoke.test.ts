/** The operator's side: what a kill writes, whom it waits for, and what lifts it again. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { listInstances, register, sendHeartbeat } from '../../../src/control/instances.ts'
import { approveRestore, restore, withdrawRestore } from '../../../src/control/restore.ts'
import { kill, leaseEndMs, waitForRevocation } from '../../../src/control/revoke.ts'
import { loadStatus } from '../../../src/control/status.ts'
import { StorageError } from '../../../src/storage/database.ts'
import type { Store } from '../../../src/storage/store.ts'
import { eventually } from '../../support/server.ts'
import { storeFolder } from '../../support/store.ts'

const ORDER = {
  scope: { kind: 'key-store', keyStore: 'demo' },
  direction: 'both',
  reason: 'why',
  operator: 'alice',
} as const
const AT_ONCE = { people: 1, delayMs: 0 } as const

const identity = (id: string, leaseMs = 2000) => ({
  ...{ id, group: 'g', host: 'h', pid: 1, worker: 0, version: '0', leaseMs },
})

const beatOf = (beat: number, ackedEpoch: number) => ({
  ...{ beat, ackedEpoch, highEpoch: ackedEpoch, state: 'open' as const, reason: null },
  ...{ lastSuccessAt: 7, inFlight: 2 },
})

async function openStore(t: Test) {
  const folder = await storeFolder(t)
  return { store: await folder.open(), clock: folder.clock, folder }
}

const idsOf = async (store: Store) =>
  (await store.database.snapshot(listInstances)).map(({ id }) => id)

void t.test('a kill is one change: the switch, the event, the epoch', async (t) => {
  const { store, clock } = await openStore(t)
  const { epoch: before } = await store.contents()
  const done = await kill(store, clock, ORDER)
  t.equal(done.epoch, before + 1)
  t.ok(done.isNew)
  const status = await loadStatus(store, 10)
  t.equal(status.epoch, done.epoch)
  t.same(status.switches, [done.switch])
  t.match(done.switch, { ...ORDER, epoch: done.epoch, createdAt: clock.now() })
  t.match(status.events, [{ kind: 'kill', operator: 'alice', detail: { reason: 'why' } }])
})

void t.test('the same kill again makes no second switch, and an epoch to wait for', async (t) => {
  const { store, clock } = await openStore(t)
  const first = await kill(store, clock, ORDER)
  const second = await kill(store, clock, { ...ORDER, operator: 'bob' })
  t.notOk(second.isNew)
  t.equal(second.switch?.id, first.switch?.id)
  t.equal(second.epoch, first.epoch + 1)
  for (const other of [
    { ...ORDER, direction: 'decrypt' as const },
    { ...ORDER, until: 1 },
  ]) {
    t.ok((await kill(store, clock, other)).isNew)
  }
  t.equal((await loadStatus(store, 0)).switches.length, 3)
})

void t.test('waits until every instance has acknowledged', async (t) => {
  const { store, clock } = await openStore(t)
  for (const id of ['a', 'b']) await register(store.database, identity(id), 0)
  const done = await kill(store, clock, ORDER)
  let isOver = false
  const waiting = waitForRevocation(store, clock, done).then((result) => {
    isOver = true
    return result
  })
  await sendHeartbeat(store.database, 'a', beatOf(1, done.epoch))
  await sendHeartbeat(store.database, 'b', beatOf(1, done.epoch - 1))
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.notOk(isOver, 'an older epoch is no acknowledgement')
  await sendHeartbeat(store.database, 'b', beatOf(2, done.epoch))
  const { instances, isComplete } = await waiting
  t.ok(isComplete)
  t.match(
    instances.map(({ id, how, lastSuccessAt, inFlight }) => ({ id, how, lastSuccessAt, inFlight })),
    ['a', 'b'].map((id) => ({ id, how: 'acknowledged', lastSuccessAt: 7, inFlight: 2 })),
  )
})

void t.test('one that says nothing is waited for as long as its lease can last', async (t) => {
  const { store, clock } = await openStore(t)
  await register(store.database, identity('dead', 3000), 0)
  const done = await kill(store, clock, ORDER)
  let isOver = false
  const waiting = waitForRevocation(store, clock, done).then((result) => {
    isOver = true
    return result
  })
  await new Promise((resolve) => setTimeout(resolve, 100))
  clock.advance(leaseEndMs(3000))
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.notOk(isOver)
  clock.advance(1)
  const { instances } = await waiting
  t.match(instances, [{ id: 'dead', how: 'lease-ended' }])
  t.same(await idsOf(store), [], 'the next kill need not wait for it')
})

void t.test('one that goes on beating without acknowledging is waited for, and kept', async (t) => {
  const { store, clock } = await openStore(t)
  await register(store.database, identity('deaf'), 0)
  const done = await kill(store, clock, ORDER)
  const waiting = waitForRevocation(store, clock, done)
  clock.advance(leaseEndMs(2000) - 10)
  await sendHeartbeat(store.database, 'deaf', beatOf(1, 0))
  await new Promise((resolve) => setTimeout(resolve, 100))
  clock.advance(20)
  t.match((await waiting).instances, [{ id: 'deaf', how: 'lease-ended' }])
  t.same(await idsOf(store), ['deaf'])
})

void t.test(
  'a store that falls silent after the commit does not keep the leases from ending',
  async (t) => {
    const { store, clock } = await openStore(t)
    await register(store.database, identity('a'), 0)
    const done = await kill(store, clock, ORDER)
    let reads = 0
    const silent: Store = {
      ...store,
      database: {
        nowSql: store.database.nowSql,
        beat: () => Promise.reject(new StorageError('STORE_TIMEOUT', 'silent')),
        snapshot: (work) =>
          reads++ === 0
            ? store.database.snapshot(work)
            : Promise.reject(new StorageError('STORE_TIMEOUT', 'silent')),
        transaction: (work) => store.database.transaction(work),
        epoch: () => store.database.epoch(),
        erase: () => store.database.erase(),
        close: () => store.database.close(),
      },
    }
    const waiting = waitForRevocation(silent, clock, done)
    await eventually(() => reads > 2)
    clock.advance(leaseEndMs(2000) + 1)
    t.match((await waiting).instances, [{ id: 'a', how: 'lease-ended' }])

    const never: Store = {
      ...silent,
      database: {
        ...silent.database,
        snapshot: () => Promise.reject(new StorageError('STORE_TIMEOUT', 'silent')),
      },
    }
    const told = waitForRevocation(never, clock, await kill(store, clock, ORDER))
    clock.advance(leaseEndMs(2000) + 1)
    t.match(
      (await told).instances,
      [{ how: 'lease-ended' }],
      'the kill itself has read who is there',
    )

    const { registered, ...untold } = await kill(store, clock, ORDER)
    t.equal(registered?.length, 1)
    const unknown = waitForRevocation(never, clock, untold)
    clock.advance(60_001)
    await t.rejects(unknown, { code: 'NOT_REVOKED' })
  },
)

void t.test('one that leaves meanwhile is not waited for', async (t) => {
  const { store, clock } = await openStore(t)
  await register(store.database, identity('a'), 0)
  const done = await kill(store, clock, ORDER)
  const waiting = waitForRevocation(store, clock, done)
  await new Promise((resolve) => setTimeout(resolve, 50))
  await store.database.beat('DELETE FROM instances RETURNING id')
  t.match((await waiting).instances, [{ id: 'a', how: 'left' }])
})

void t.test('restore lifts by id and by scope, and says when there is nothing', async (t) => {
  const { store, clock } = await openStore(t)
  const first = await kill(store, clock, ORDER)
  await kill(store, clock, { ...ORDER, direction: 'decrypt' })
  const by = { reason: 'over', operator: 'bob' }
  const id = first.switch?.id ?? ''
  t.match(await restore(store, clock, AT_ONCE, { target: { id }, ...by }), { state: 'restored' })
  await t.rejects(restore(store, clock, AT_ONCE, { target: { id }, ...by }), {
    code: 'NOTHING_KILLED',
  })
  const target = { scope: ORDER.scope }
  await restore(store, clock, AT_ONCE, { target, ...by })
  const { switches, events } = await loadStatus(store, 10)
  t.same(switches, [])
  t.same(
    events.map(({ kind }) => kind),
    ['restore', 'restore', 'kill', 'kill'],
    'what was killed stays in the events',
  )
})

void t.test('two people and a delay: nobody restores alone, or at once', async (t) => {
  const { store, clock } = await openStore(t)
  await kill(store, clock, ORDER)
  const policy = { people: 2, delayMs: 60_000 } as const
  const asked = await restore(store, clock, policy, {
    ...{ target: { scope: ORDER.scope }, reason: 'over', operator: 'alice' },
  })
  if (asked.state !== 'requested') throw new TypeError('restored at once')
  const { id } = asked.request
  const approve = (operator: string) => approveRestore(store, clock, policy, { id, operator })
  t.equal((await loadStatus(store, 0)).switches.length, 1)
  await t.rejects(approve('alice'), { code: 'SAME_PERSON' })
  t.match(await approve('bob'), { state: 'requested', request: { approvedBy: 'bob' } })
  await t.rejects(approve('bob'), { code: 'NOT_READY' })
  clock.advance(60_000)
  t.match(await approve('alice'), { state: 'restored' })
  t.equal((await loadStatus(store, 0)).switches.length, 0)
  await t.rejects(approve('bob'), { code: 'NO_SUCH_REQUEST' })
  const { events } = await loadStatus(store, 1)
  t.match(events, [{ detail: { requestedBy: 'alice', approvedBy: 'bob' } }])
})

void t.test('a request can be taken back, and does nothing then', async (t) => {
  const { store, clock } = await openStore(t)
  await kill(store, clock, ORDER)
  const policy = { people: 1, delayMs: 1000 } as const
  const asked = await restore(store, clock, policy, {
    ...{ target: { scope: ORDER.scope }, reason: 'over', operator: 'alice' },
  })
  if (asked.state !== 'requested') throw new TypeError('restored at once')
  const { id } = asked.request
  await withdrawRestore(store, clock, { id, operator: 'bob', reason: 'no' })
  clock.advance(1000)
  await t.rejects(approveRestore(store, clock, policy, { id, operator: 'alice' }), {
    code: 'NO_SUCH_REQUEST',
  })
  t.equal((await loadStatus(store, 0)).switches.length, 1)
})

void t.test('events that were changed or removed are noticed', async (t) => {
  const { store, clock, folder } = await openStore(t)
  await kill(store, clock, ORDER)
  await kill(store, clock, { ...ORDER, direction: 'decrypt' })
  folder.tamper("UPDATE control_events SET operator = 'nobody' WHERE seq = 1")
  await t.rejects(loadStatus(store, 1), { code: 'STORE_TAMPERED' })
  folder.tamper('DELETE FROM control_events WHERE seq = 1')
  await t.rejects(loadStatus(store, 1), { code: 'STORE_TAMPERED' })
})

void t.test(
  'a kill that is lifted while it waits does not say revoked, even if another follows',
  async (t) => {
    const { store, clock } = await openStore(t)
    await register(store.database, identity('one', 3_600_000), 0)
    const first = await kill(store, clock, ORDER)
    const waiting = waitForRevocation(store, clock, first).catch((error: unknown) => error)
    const by = { target: { scope: ORDER.scope }, reason: 'x', operator: 'bob' }
    await restore(store, clock, AT_ONCE, by)
    const second = await kill(store, clock, ORDER)
    // Of the restoration: its gate is open, and its acknowledgement is later than the first kill.
    await sendHeartbeat(store.database, 'one', beatOf(1, first.epoch + 1))
    t.match(await waiting, { code: 'RESTORED_MEANWHILE' })
    await sendHeartbeat(store.database, 'one', beatOf(2, second.epoch))
    t.ok((await waitForRevocation(store, clock, second)).isComplete)
  },
)

void t.test('a store that hangs does not hold up the end of the leases', async (t) => {
  const { store, clock } = await openStore(t)
  await register(store.database, identity('one'), 0)
  const done = await kill(store, clock, ORDER)
  let asked = 0
  const hanging: Store = {
    ...store,
    sealing: store.sealing,
    database: {
      ...store.database,
      snapshot: () => {
        asked += 1
        return new Promise<never>(() => undefined)
      },
    },
  }
  const waiting = waitForRevocation(hanging, clock, done)
  await eventually(() => asked === 1)
  clock.advance(leaseEndMs(2000) + 1)
  t.match((await waiting).instances, [{ id: 'one', how: 'lease-ended' }])
  t.equal(asked, 1, 'it is not asked again before it has answered')
})
