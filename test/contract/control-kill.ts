/** The contract for kills on any engine: what a kill writes, and which instances it waits for. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { deregister, register } from '../../src/killswitch/instance/instances.ts'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { loadStatus } from '../../src/killswitch/operator/status.ts'
import { waitForRevocation } from '../../src/killswitch/operator/wait.ts'
import { leaseEndMs } from '../../src/killswitch/operator/waiting-fleet.ts'
import { StorageError } from '../../src/store/database.ts'
import { type Store } from '../../src/store/store.ts'
import { eventually } from '../support/server.ts'
import {
  beatOf,
  type ControlContract,
  identity,
  idsOf,
  instancesOf,
  LEASE_MS,
  NOTHING_SEEN,
  ORDER,
  say,
} from './control-fixture.ts'

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
    named('repeating a kill creates no second switch, but a new epoch to wait for'),
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
    for (const id of ['a', 'b']) await register(store, identity(id), 0)
    const done = await kill(store, clock, ORDER)
    let isOver = false
    const waiting = waitForRevocation({ store, clock, leaseMs: LEASE_MS }, done).then((result) => {
      isOver = true
      return result
    })
    await say(store, 'a', beatOf(1, done))
    await say(store, 'b', beatOf(1, NOTHING_SEEN))
    await new Promise((resolve) => setTimeout(resolve, 100))
    t.notOk(isOver, 'an older epoch is no acknowledgement')
    await say(store, 'b', beatOf(2, done))
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
    named('a silent instance is waited for until its lease must have ended'),
    async (t) => {
      const { store, clock } = await open(t)
      await register(store, identity('dead', 3000), 0)
      const done = await kill(store, clock, ORDER)
      let isOver = false
      const waiting = waitForRevocation({ store, clock, leaseMs: LEASE_MS }, done).then(
        (result) => {
          isOver = true
          return result
        },
      )
      await new Promise((resolve) => setTimeout(resolve, 100))
      clock.advance(leaseEndMs(3000))
      await new Promise((resolve) => setTimeout(resolve, 100))
      t.notOk(isOver)
      clock.advance(1)
      const { instances } = await waiting
      t.match(instances, [{ id: 'dead', how: 'lease-ended' }])
      // One kill dismisses the instance and the next removes it, but a slow store may delay either step.
      const kills: string[] = []
      while ((await idsOf(store)).length > 0) {
        const [found] = await instancesOf(store)
        kills.push(found?.isDismissed === true ? 'dismissed' : 'registered')
        const next = await kill(store, clock, ORDER)
        const again = waitForRevocation({ store, clock, leaseMs: LEASE_MS }, next)
        await new Promise((resolve) => setTimeout(resolve, 100))
        clock.advance(leaseEndMs(3000) + 1)
        t.match((await again).instances, [{ id: 'dead', how: 'lease-ended' }])
      }
      t.equal(kills.at(-1), 'dismissed', 'it is never removed before it was dismissed')
    },
  )

  void t.test(
    named('an instance that sends heartbeats without acknowledging is waited for, and kept'),
    async (t) => {
      const { store, clock } = await open(t)
      await register(store, identity('deaf'), 0)
      const done = await kill(store, clock, ORDER)
      const waiting = waitForRevocation({ store, clock, leaseMs: LEASE_MS }, done)
      clock.advance(leaseEndMs(2000) - 10)
      await say(store, 'deaf', beatOf(1, NOTHING_SEEN))
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
      await register(store, identity('a'), 0)
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
          read: () => Promise.reject(new StorageError('STORE_TIMEOUT', 'silent')),
          checkSchema: (reader) => store.database.checkSchema(reader),
          erase: () => store.database.erase(),
          warnings: (processes) => store.database.warnings(processes),
          close: () => store.database.close(),
        },
      }
      const waiting = waitForRevocation({ store: silent, clock, leaseMs: LEASE_MS }, done)
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
      const told = waitForRevocation(
        { store: never, clock, leaseMs: LEASE_MS },
        await kill(store, clock, ORDER),
      )
      clock.advance(leaseEndMs(2000) + 1)
      t.match(
        (await told).instances,
        [{ how: 'lease-ended' }],
        'the kill itself has read who is there',
      )

      const { registered, ...untold } = await kill(store, clock, ORDER)
      t.equal(registered?.length, 1)
      const unknown = waitForRevocation({ store: never, clock, leaseMs: LEASE_MS }, untold)
      clock.advance(60_001)
      await t.rejects(unknown, { code: 'NOT_REVOKED' })
    },
  )

  void t.test(named('an instance that deregisters meanwhile is not waited for'), async (t) => {
    const { store, clock } = await open(t)
    for (const id of ['a', 'b']) await register(store, identity(id), 0)
    const done = await kill(store, clock, ORDER)
    const waiting = waitForRevocation({ store, clock, leaseMs: LEASE_MS }, done)
    await say(store, 'b', beatOf(1, done))
    await deregister(store, 'a')
    t.match((await waiting).instances, [
      { id: 'a', how: 'left' },
      { id: 'b', how: 'acknowledged' },
    ])
  })

  void t.test(named('a store that hangs does not delay the end of the leases'), async (t) => {
    const { store, clock } = await open(t)
    await register(store, identity('one'), 0)
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
    const waiting = waitForRevocation({ store: hanging, clock, leaseMs: LEASE_MS }, done)
    await eventually(() => asked === 1)
    clock.advance(leaseEndMs(2000) + 1)
    t.match((await waiting).instances, [{ id: 'one', how: 'lease-ended' }])
    t.equal(asked, 1, 'it is not asked again before it has answered')
  })

  void t.test(
    named('if no instance vouches for the store, the kill waits for a full lease'),
    async (t) => {
      const { store, clock } = await open(t)
      const deps = { store, clock, leaseMs: LEASE_MS }
      const isSettled = async (work: Promise<unknown>) => {
        const pause = new Promise((resolve) => setTimeout(resolve, 100, 'PENDING'))
        return (await Promise.race([work, pause])) !== 'PENDING'
      }
      const nobody = waitForRevocation(deps, await kill(store, clock, ORDER))
      t.notOk(await isSettled(nobody), 'an older copy may lack whoever serves')
      clock.advance(leaseEndMs(LEASE_MS) + 1)
      t.same((await nobody).instances, [])

      await register(store, identity('new'), 0)
      const second = await kill(store, clock, ORDER)
      const young = waitForRevocation(deps, second)
      await say(store, 'new', { ...beatOf(1, second), heldMs: LEASE_MS - 1 })
      t.notOk(await isSettled(young), 'one that came lately may have come to an older copy')
      await say(store, 'new', { ...beatOf(2, second), heldMs: LEASE_MS })
      t.match((await young).instances, [{ id: 'new', how: 'acknowledged' }])
    },
  )
}
