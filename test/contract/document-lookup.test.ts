/** Tests on both engines that one policy document is found without reading the others again. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { createDocumentLookup } from '../../src/policy/document-lookup.ts'
import { type PolicyChange, planChange, writeChange } from '../../src/policy/policy-table.ts'
import type { Store } from '../../src/store/store.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import type { ControlFixture } from './control-fixture.ts'

t.setTimeout(180_000)

const MANY = 250

function contract(name: string, open: (t: Test) => Promise<ControlFixture>): void {
  const opened = async (t: Test) => {
    const fixture = await open(t)
    const { store, clock } = fixture
    let policyReads = 0
    const counted: Pick<Store, 'snapshot' | 'sealing'> = {
      sealing: store.sealing,
      snapshot: (work) =>
        store.snapshot((reader) =>
          work({
            query(sql, parameters) {
              if (sql.includes('FROM policies')) policyReads += 1
              return reader.query(sql, parameters)
            },
          }),
        ),
    }
    const find = createDocumentLookup('labels')
    return {
      ...fixture,
      find: () => find(counted),
      takeReads() {
        const reads = policyReads
        policyReads = 0
        return reads
      },
      async change(change: PolicyChange) {
        const by = { kind: change.kind, operator: 'test', reason: 'test' }
        const note = () => Promise.resolve()
        await writeChange(store, clock, await planChange(store, change), { ...by, note })
      },
    }
  }
  const put = (name: string, text: string, mode: 'enforce' | 'shadow' = 'enforce') =>
    ({ kind: 'put', mode, documents: new Map([[name, text]]) }) as const

  void t.test(`${name}: the document in force is found, whatever was changed last`, async (t) => {
    const { find, change, takeReads } = await opened(t)
    t.equal(await find(), undefined)
    await change(put('labels', 'one'))
    await change(put('other', 'x'))
    t.equal(await find(), 'one')
    await change(put('labels', 'two', 'shadow'))
    t.equal(await find(), 'one')
    await change({ kind: 'promote' })
    t.equal(await find(), 'two')
    await change({ kind: 'rollback', revision: 1 })
    t.equal(await find(), 'one')
    await change({ kind: 'delete', name: 'labels', mode: 'enforce' })
    t.equal(await find(), undefined)
    t.ok(takeReads() > 0)
    t.equal(await find(), undefined)
    t.equal(takeReads(), 0)
  })

  void t.test(`${name}: without a change, no policy is read and none can be planted`, async (t) => {
    const { store, find, change, takeReads, tamper } = await opened(t)
    const texts = Array.from({ length: MANY }, (_, i) => [`policy-${String(i)}`, 'x'] as const)
    await change({ kind: 'put', mode: 'enforce', documents: new Map(texts) })
    await change(put('labels', 'one'))
    await change(put('labels', 'two'))
    t.equal(await find(), 'two')
    t.ok(takeReads() >= MANY / 100)
    await tamper("DELETE FROM policies WHERE name = 'labels' AND revision = 3")
    for (let i = 0; i < 3; i++) t.equal(await find(), 'two', 'as the sealed state says')
    t.equal(takeReads(), 0)
    const removed = { code: 'STORE_TAMPERED', message: /rows were added, removed or restored/ }
    await t.rejects(createDocumentLookup('labels')(store), removed, 'another reader notices')
  })
}

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
