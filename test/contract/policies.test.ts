/** Tests the control store's policy rows on both engines: changes, revisions and tampering. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import type { PolicyState } from '../../src/policy/authorizer.ts'
import {
  type PolicyChange,
  loadPoliciesAt,
  loadPolicyHistory,
  loadPolicyState,
  planChange,
  writeChange,
} from '../../src/policy/policy-table.ts'
import { type StorageError } from '../../src/store/database.ts'
import { readEvents } from '../../src/store/event-log.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import type { ControlFixture } from './control-fixture.ts'

t.setTimeout(120_000)

const put = (
  documents: Readonly<Record<string, string>>,
  mode: 'enforce' | 'shadow' = 'enforce',
): PolicyChange => ({ kind: 'put', documents: new Map(Object.entries(documents)), mode })

function policiesOf({ store, clock }: ControlFixture) {
  const by = { operator: 'alice', reason: 'why' }
  const load = () => store.database.snapshot((reader) => loadPolicyState(reader, store.sealing))
  return {
    load,
    async change(change: PolicyChange) {
      const plan = await planChange(store, change)
      const { epoch } = await writeChange(store, clock, plan, { ...by, kind: change.kind, note })
      return { plan, epoch }
    },
    async says() {
      const state = await load()
      return describe(state)
    },
  }
}

function describe({ revision, enforced, shadow }: PolicyState) {
  const show = (documents: PolicyState['enforced']) => Object.fromEntries(documents)
  return { revision, enforced: show(enforced), shadow: shadow && show(shadow) }
}

const note = () => Promise.resolve()

const codeOf = (work: Promise<unknown>) =>
  work.then(
    () => 'done',
    (error: unknown) => (error as StorageError).code,
  )

function contract(name: string, open: (t: Test) => Promise<ControlFixture>): void {
  void t.test(`${name}: each change creates a revision, an epoch and an event`, async (t) => {
    const fixture = await open(t)
    const { change, says } = policiesOf(fixture)
    t.same(await says(), { revision: 0, enforced: {}, shadow: undefined })
    const before = await fixture.store.database.epoch()
    const { epoch } = await change(put({ a: 'A1', b: 'B1' }))
    t.equal(epoch, before + 1)
    t.same(await says(), { revision: 1, enforced: { a: 'A1', b: 'B1' }, shadow: undefined })
    await change(put({ a: 'A2' }))
    await change({ kind: 'delete', name: 'b', mode: 'enforce' })
    t.same(await says(), { revision: 3, enforced: { a: 'A2' }, shadow: undefined })
    t.equal(await codeOf(change(put({ a: 'A2' }))), 'POLICY_UNCHANGED')
    t.equal(
      await codeOf(change({ kind: 'delete', name: 'b', mode: 'enforce' })),
      'POLICY_NOT_FOUND',
    )

    await change({ kind: 'rollback', revision: 1 })
    t.same((await says()).enforced, { a: 'A1', b: 'B1' })
    t.equal(await codeOf(change({ kind: 'rollback', revision: 9 })), 'POLICY_NOT_FOUND')
    t.same(
      await loadPoliciesAt(fixture.store, 2),
      new Map([
        ['a', 'A2'],
        ['b', 'B1'],
      ]),
    )
    t.match(await loadPolicyHistory(fixture.store), [
      { revision: 4, action: 'rollback', documents: [{ name: 'a', text: 'A1' }, { name: 'b' }] },
      { revision: 3, action: 'delete', documents: [{ name: 'b', text: undefined }] },
      { revision: 2, action: 'put', operator: 'alice', reason: 'why' },
      { revision: 1 },
    ])
    const { store } = fixture
    const events = await store.database.snapshot((reader) => readEvents(reader, store.sealing))
    t.same(
      events.map(({ kind, detail }) => [kind, detail['revision']]),
      [
        ['policy-put', 1],
        ['policy-put', 2],
        ['policy-delete', 3],
        ['policy-rollback', 4],
      ],
    )
    await store.audit()
  })

  void t.test(`${name}: shadow policies exist alongside enforced ones`, async (t) => {
    const { change, says } = policiesOf(await open(t))
    await change(put({ a: 'A1', b: 'B1' }))
    await change(put({ a: 'A2', c: 'C1' }, 'shadow'))
    await change({ kind: 'delete', name: 'b', mode: 'shadow' })
    t.same(await says(), {
      revision: 3,
      enforced: { a: 'A1', b: 'B1' },
      shadow: { a: 'A2', c: 'C1' },
    })
    await change({ kind: 'promote' })
    t.same(await says(), { revision: 4, enforced: { a: 'A2', c: 'C1' }, shadow: undefined })
    t.equal(await codeOf(change({ kind: 'promote' })), 'POLICY_UNCHANGED')
    await change(put({ a: 'A3', c: 'C2' }, 'shadow'))
    await change(put({ a: 'A4' }))
    t.same((await says()).shadow, { a: 'A4', c: 'C2' }, 'a document in force ends its own shadow')
    await change({ kind: 'discard' })
    t.same(await says(), { revision: 7, enforced: { a: 'A4', c: 'C1' }, shadow: undefined })
  })

  void t.test(`${name}: the second of two concurrent changes is refused`, async (t) => {
    const { store, clock } = await open(t)
    const by = { kind: 'put', operator: 'bob', reason: 'why', note } as const
    const [first, second] = [
      await planChange(store, put({ a: 'A' })),
      await planChange(store, put({ b: 'B' })),
    ]
    await writeChange(store, clock, first, by)
    t.equal(await codeOf(writeChange(store, clock, second, by)), 'POLICY_CHANGED')
  })

  void t.test(`${name}: rows changed, added or deleted by others are not trusted`, async (t) => {
    for (const sql of [
      "UPDATE policies SET document = 'permit(principal, action, resource);' WHERE revision = 1",
      'DELETE FROM policies WHERE revision = 2',
      `INSERT INTO policies SELECT 3, name, mode, document, action, reason, operator, created_at,
         changed_epoch, mac FROM policies WHERE revision = 1`,
    ]) {
      const fixture = await open(t)
      const { change, load } = policiesOf(fixture)
      await change(put({ a: 'A1' }))
      await change(put({ a: 'A2' }))
      await fixture.tamper(sql)
      t.equal(await codeOf(load()), 'STORE_TAMPERED', sql)
    }
  })
}

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
