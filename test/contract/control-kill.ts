/** What a kill writes, and whom it waits for, whatever the engine. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { register, sendHeartbeat } from '../../src/killswitch/instance/instances.ts'
import { kill, leaseEndMs, waitForRevocation } from '../../src/killswitch/operator/kill.ts'
import { loadStatus } from '../../src/killswitch/operator/status.ts'
import { StorageError } from '../../src/store/database.ts'
import { type Store } from '../../src/store/store.ts'
import { eventually } from '../support/server.ts'
import { beatOf, idsOf, identity, ORDER, type ControlContract } from './control-fixture.ts'

export function killContract({ name, open }: ControlContract): void {
  const named = (sentence: string) => `${name}: ${sentence}`

  void t.test(named('a kill is one change: the switch, the event, the epoch'), async (t) => {
    const { store, clock } = await open(t)
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

  void t.test(
    named('the same kill again makes no second switch, and an epoch to wait for'),
    async (t) => {
      const { store, clock } = await open(t)
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
    },
  )

  void t.test(named('waits until every instance has acknowledged'), async (t) => {
    const { store, clock } = await open(t)
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
      instances.map(({ id, how, lastSuccessAt, inFlight }) => ({
        id,
        how,
        lastSuccessAt,
        inFlight,
      })),
      ['a', 'b'].map((id) => ({ id, how: 'acknowledged', lastSuccessAt: 7, inFlight: 2 })),
    )
  })

  void t.test(
    named('one that says nothing is waited for as long as its lease can last'),
    async (t) => {
      const { store, clock } = await open(t)
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
    },
  )

  void t.test(
    named('one that goes on beating without acknowledging is waited for, and kept'),
    async (t) => {
      const { store, clock } = await open(t)
      await register(store.database, identity('deaf'), 0)
      const done = await kill(store, clock, ORDER)
      const waiting = waitForRevocation(store, clock, done)
      clock.advance(leaseEndMs(2000) - 10)
      await sendHeartbeat(store.database, 'deaf', beatOf(1, 0))
      await new Promise((resolve) => setTimeout(resolve, 100))
      clock.advance(20)
      t.match((await waiting).instances, [{ id: 'deaf', how: 'lease-ended' }])
      t.same(await idsOf(store), ['deaf'])
    },
  )

  void t.test(
    named('a store that falls silent after the commit does not keep the leases from ending'),
    async (t) => {
      const { store, clock } = await open(t)
      await register(store.database, identity('a'), 0)
      const done = await kill(store, clock, ORDER)
      let reads = 0
      const silent: Store = {
        ...store,
        database: {
          nowSql: store.database.nowSql,
          heartbeat: () => Promise.reject(new StorageError('STORE_TIMEOUT', 'silent')),
          snapshot: (work) =>
            reads++ === 0
              ? store.database.snapshot(work)
              : Promise.reject(new StorageError('STORE_TIMEOUT', 'silent')),
          transaction: (work) => store.database.transaction(work),
          epoch: () => store.database.epoch(),
          write: () => Promise.reject(new StorageError('STORE_TIMEOUT', 'silent')),
          checkSchema: (reader) => store.database.checkSchema(reader),
          erase: () => store.database.erase(),
          warnings: (processes) => store.database.warnings(processes),
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

  void t.test(named('one that leaves meanwhile is not waited for'), async (t) => {
    const { store, clock } = await open(t)
    await register(store.database, identity('a'), 0)
    const done = await kill(store, clock, ORDER)
    const waiting = waitForRevocation(store, clock, done)
    await new Promise((resolve) => setTimeout(resolve, 50))
    await store.database.heartbeat('DELETE FROM instances RETURNING id')
    t.match((await waiting).instances, [{ id: 'a', how: 'left' }])
  })

  void t.test(named('a store that hangs does not hold up the end of the leases'), async (t) => {
    const { store, clock } = await open(t)
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
}
