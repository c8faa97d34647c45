/** The contract for restores on any engine: what lifts a kill, and how the store records it. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { register } from '../../src/killswitch/instance/instances.ts'
import type { Clock } from '../../src/core/clock.ts'
import {
  closeDeadManSwitch,
  endDeadManSwitch,
  renewDeadManSwitch,
  startDeadManSwitch,
} from '../../src/killswitch/operator/dead-man-switch.ts'
import {
  type RestorePolicy,
  approveRestore,
  restore,
  withdrawRestore,
} from '../../src/killswitch/operator/restore.ts'
import type { Store } from '../../src/store/store.ts'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { waitForRevocation } from '../../src/killswitch/operator/wait.ts'
import { loadStatus } from '../../src/killswitch/operator/status.ts'
import {
  actor,
  AT_ONCE,
  beatOf,
  EXPIRES_MS,
  identity,
  ORDER,
  say,
  type ControlContract,
} from './control-fixture.ts'

const LONG_MS = 3_600_000

async function ask(store: Store, clock: Clock, policy: RestorePolicy): Promise<string> {
  const target = { scope: ORDER.scope }
  const asked = await restore(store, clock, policy, { target, reason: 'over', ...actor('alice') })
  if (asked.state !== 'requested') throw new TypeError('restored at once')
  return asked.request.id
}

export function restoreContract({ name, open }: ControlContract): void {
  const named = (sentence: string) => `${name}: ${sentence}`

  void t.test(
    named('restore lifts switches by id and by scope, and reports if there are none'),
    async (t) => {
      const { store, clock } = await open(t)
      const first = await kill(store, clock, ORDER)
      await kill(store, clock, { ...ORDER, direction: 'decrypt' })
      const by = { reason: 'over', ...actor('bob') }
      const id = first.switch?.id ?? ''
      t.match(await restore(store, clock, AT_ONCE, { target: { id }, ...by }), {
        state: 'restored',
      })
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
    },
  )

  void t.test(
    named('two people and a delay: no one can restore alone or immediately'),
    async (t) => {
      const { store, clock } = await open(t)
      await kill(store, clock, ORDER)
      const policy = { people: 2, delayMs: 60_000, expiresMs: EXPIRES_MS } as const
      const asked = await restore(store, clock, policy, {
        ...{ target: { scope: ORDER.scope }, reason: 'over', ...actor('alice') },
      })
      if (asked.state !== 'requested') throw new TypeError('restored at once')
      const { id } = asked.request
      const approve = (operator: string) =>
        approveRestore(store, clock, policy, { id, ...actor(operator) })
      t.equal((await loadStatus(store, 0)).switches.length, 1)
      await t.rejects(approve('alice'), { code: 'SAME_PERSON' })
      t.match(await approve('bob'), {
        state: 'requested',
        request: { approval: { operator: 'bob', epoch: 2 } },
      })
      await t.rejects(approve('bob'), { code: 'NOT_READY' })
      clock.advance(60_000)
      t.match(await approve('alice'), { state: 'restored' })
      t.equal((await loadStatus(store, 0)).switches.length, 0)
      await t.rejects(approve('bob'), { code: 'NO_SUCH_REQUEST' })
      const { events } = await loadStatus(store, 1)
      t.match(events, [{ detail: { requestedBy: 'alice', approvedBy: 'bob' } }])
    },
  )

  void t.test(named('a withdrawn request has no effect'), async (t) => {
    const { store, clock } = await open(t)
    await kill(store, clock, ORDER)
    const policy = { people: 1, delayMs: 1000, expiresMs: EXPIRES_MS } as const
    const asked = await restore(store, clock, policy, {
      ...{ target: { scope: ORDER.scope }, reason: 'over', ...actor('alice') },
    })
    if (asked.state !== 'requested') throw new TypeError('restored at once')
    const { id } = asked.request
    await withdrawRestore(store, clock, { id, operator: 'bob', reason: 'no' })
    clock.advance(1000)
    await t.rejects(approveRestore(store, clock, policy, { id, ...actor('alice') }), {
      code: 'NO_SUCH_REQUEST',
    })
    t.equal((await loadStatus(store, 0)).switches.length, 1)
  })

  void t.test(named('a kill withdraws earlier requests, even approved ones'), async (t) => {
    const { store, clock } = await open(t)
    const policy = { people: 2, delayMs: 60_000, expiresMs: EXPIRES_MS } as const
    await kill(store, clock, ORDER)
    const id = await ask(store, clock, policy)
    await approveRestore(store, clock, policy, { id, ...actor('bob') })
    const other = { ...ORDER, scope: { kind: 'key-store', keyStore: 'other' } } as const
    await kill(store, clock, other)
    t.equal((await loadStatus(store, 0)).requests.length, 1, 'a kill of another scope does not')
    t.notOk((await kill(store, clock, ORDER)).isNew, 'the switch is the same one')
    clock.advance(60_000)
    await t.rejects(approveRestore(store, clock, policy, { id, ...actor('alice') }), {
      code: 'NO_SUCH_REQUEST',
    })
    const { switches, requests, events } = await loadStatus(store, 1)
    t.equal(switches.length, 2, 'the later kill holds')
    t.same(requests, [])
    t.match(events, [{ kind: 'restore-withdrawn', detail: { request: id } }])
  })

  void t.test(named('a request expires, and the next change removes it'), async (t) => {
    const { store, clock } = await open(t)
    const policy = { people: 2, delayMs: 0, expiresMs: 60_000 } as const
    await kill(store, clock, ORDER)
    const id = await ask(store, clock, policy)
    clock.advance(60_000)
    await t.rejects(approveRestore(store, clock, policy, { id, ...actor('bob') }), {
      code: 'REQUEST_EXPIRED',
    })
    const again = await ask(store, clock, policy)
    t.match((await loadStatus(store, 0)).requests, [{ id: again }])
    t.match(await approveRestore(store, clock, policy, { id: again, ...actor('bob') }), {
      state: 'restored',
    })
  })

  void t.test(named('a person counts once, regardless of name and interface'), async (t) => {
    const { store, clock } = await open(t)
    const policy = { people: 2, delayMs: 0, expiresMs: EXPIRES_MS } as const
    await kill(store, clock, ORDER)
    const id = await ask(store, clock, policy)
    for (const same of [
      { operator: 'bob', identity: 'os:alice' },
      { operator: 'bob', identity: 'token:alice' },
      { operator: 'alice', identity: 'certificate:bob' },
    ])
      await t.rejects(approveRestore(store, clock, policy, { id, ...same }), {
        code: 'SAME_PERSON',
      })
    const second = { operator: 'bob', identity: 'token:bob' }
    t.match(await approveRestore(store, clock, policy, { id, ...second }), { state: 'restored' })
    t.match((await loadStatus(store, 1)).events, [
      { detail: { requestedBy: 'alice', approvedBy: 'bob', approvedEpoch: 2 } },
    ])
  })

  void t.test(
    named("reopening after a dead man's switch has the same requirements as a restore"),
    async (t) => {
      const { store, clock } = await open(t)
      const people = { people: 2, delayMs: 0, expiresMs: EXPIRES_MS } as const
      const deps = { store, clock, policy: AT_ONCE }
      const careful = { store, clock, policy: people }
      const order = { keyStore: 'demo', reason: 'why', ...actor('alice'), mayRestore: false }
      const may = { ...order, mayRestore: true }
      const needed = { code: 'RESTORE_NEEDED' }
      t.match(await startDeadManSwitch(deps, { ...order, ttlMs: 60_000 }), { state: 'written' })
      t.match(await renewDeadManSwitch(careful, order), { state: 'written' }, 'while it is open')
      await t.rejects(renewDeadManSwitch(deps, { ...order, ttlMs: 60_001 }), needed, 'for longer')
      await t.rejects(endDeadManSwitch(deps, order), needed)
      await closeDeadManSwitch(deps, order)
      await t.rejects(renewDeadManSwitch(deps, order), needed)
      await t.rejects(startDeadManSwitch(deps, { ...order, ttlMs: 1000 }), needed)
      const isOpen = async () => {
        const [one] = (await loadStatus(store, 0)).deadManSwitches
        return one !== undefined && one.openUntil > one.renewedAt
      }
      const approve = (id: string, who: string) =>
        approveRestore(store, clock, people, { id, ...actor(who) })
      const asked = await renewDeadManSwitch(careful, may)
      if (asked.state !== 'requested') throw new TypeError('opened by one person')
      t.notOk(await isOpen())
      await closeDeadManSwitch(deps, order)
      await t.rejects(approve(asked.request.id, 'bob'), { code: 'NO_SUCH_REQUEST' }, 'closed since')
      const again = await renewDeadManSwitch(careful, may)
      if (again.state !== 'requested') throw new TypeError('opened by one person')
      await t.rejects(approve(again.request.id, 'alice'), { code: 'SAME_PERSON' })
      t.match(await approve(again.request.id, 'bob'), { state: 'restored' })
      t.ok(await isOpen())
      const ending = await endDeadManSwitch(careful, may)
      if (ending.state !== 'requested') throw new TypeError('ended by one person')
      await approve(ending.request.id, 'bob')
      t.same((await loadStatus(store, 0)).deadManSwitches, [])
      await closeDeadManSwitch(deps, order).catch(() => undefined)
      t.match(await startDeadManSwitch(deps, { ...order, ttlMs: 60_000 }), { state: 'written' })
      await closeDeadManSwitch(deps, order)
      t.match(await renewDeadManSwitch(deps, may), { state: 'written' }, 'by one who may restore')
      t.ok(await isOpen())
    },
  )

  void t.test(named('changed or deleted events are detected'), async (t) => {
    const { store, clock, tamper } = await open(t)
    await kill(store, clock, ORDER)
    await kill(store, clock, { ...ORDER, direction: 'decrypt' })
    await tamper("UPDATE control_events SET operator = 'nobody' WHERE seq = 1")
    await t.rejects(loadStatus(store, 1), { code: 'STORE_TAMPERED' })
    await tamper('DELETE FROM control_events WHERE seq = 1')
    await t.rejects(loadStatus(store, 1), { code: 'STORE_TAMPERED' })
  })

  void t.test(
    named('a kill that is lifted while it waits does not print revoked, even if another follows'),
    async (t) => {
      const { store, clock } = await open(t)
      await register(store, identity('one', LONG_MS), 0)
      const first = await kill(store, clock, ORDER)
      const waiting = waitForRevocation({ store, clock, leaseMs: 2000 }, first).catch(
        (error: unknown) => error,
      )
      const by = { target: { scope: ORDER.scope }, reason: 'x', ...actor('bob') }
      await restore(store, clock, AT_ONCE, by)
      const { mark: lifted } = await loadStatus(store, 0)
      const second = await kill(store, clock, ORDER)
      // This heartbeat acknowledges the restore: the gate is open, and the epoch is later than the first kill's.
      await say(store, 'one', beatOf(1, lifted), LONG_MS)
      t.match(await waiting, { code: 'RESTORED_MEANWHILE' })
      await say(store, 'one', beatOf(2, second), LONG_MS)
      t.ok((await waitForRevocation({ store, clock, leaseMs: 2000 }, second)).isComplete)
    },
  )
}
