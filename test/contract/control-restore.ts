/** What lifts a kill again, and what is kept of it, whatever the engine. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { register, sendHeartbeat } from '../../src/killswitch/instance/instances.ts'
import { approveRestore, restore, withdrawRestore } from '../../src/killswitch/operator/restore.ts'
import { kill, waitForRevocation } from '../../src/killswitch/operator/kill.ts'
import { loadStatus } from '../../src/killswitch/operator/status.ts'
import { AT_ONCE, beatOf, identity, ORDER, type ControlContract } from './control-fixture.ts'

export function restoreContract({ name, open }: ControlContract): void {
  const named = (sentence: string) => `${name}: ${sentence}`

  void t.test(
    named('restore lifts by id and by scope, and says when there is nothing'),
    async (t) => {
      const { store, clock } = await open(t)
      const first = await kill(store, clock, ORDER)
      await kill(store, clock, { ...ORDER, direction: 'decrypt' })
      const by = { reason: 'over', operator: 'bob' }
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

  void t.test(named('two people and a delay: nobody restores alone, or at once'), async (t) => {
    const { store, clock } = await open(t)
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

  void t.test(named('a request can be taken back, and does nothing then'), async (t) => {
    const { store, clock } = await open(t)
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

  void t.test(named('events that were changed or removed are noticed'), async (t) => {
    const { store, clock, tamper } = await open(t)
    await kill(store, clock, ORDER)
    await kill(store, clock, { ...ORDER, direction: 'decrypt' })
    await tamper("UPDATE control_events SET operator = 'nobody' WHERE seq = 1")
    await t.rejects(loadStatus(store, 1), { code: 'STORE_TAMPERED' })
    await tamper('DELETE FROM control_events WHERE seq = 1')
    await t.rejects(loadStatus(store, 1), { code: 'STORE_TAMPERED' })
  })

  void t.test(
    named('a kill that is lifted while it waits does not say revoked, even if another follows'),
    async (t) => {
      const { store, clock } = await open(t)
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
}
