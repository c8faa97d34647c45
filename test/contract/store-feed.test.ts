/** Tests the change feed on both engines: after any change, a reader has exactly the rows that a full read returns. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import type { Row } from '../../src/store/database.ts'
import type { TableChange } from '../../src/store/feed.ts'
import { FACTS, SWITCHES, type SealedTable } from '../../src/store/sealed-tables.ts'
import { deleteRow, putRow } from '../../src/store/sealed-transaction.ts'
import type { Store } from '../../src/store/store.ts'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import { ORDER } from './control-fixture.ts'

t.setTimeout(120_000)

const TABLES = [FACTS, SWITCHES]

/** Creates a feed reader that keeps its own copy of the rows. */
function createReader(store: Store) {
  const feed = store.feed(...TABLES)
  const rows = new Map<SealedTable, Map<string, Row>>(TABLES.map((table) => [table, new Map()]))
  const keyOf = (table: SealedTable, row: Row) => JSON.stringify(table.key.map((name) => row[name]))
  const seen: TableChange[] = []
  return {
    seen,
    async read() {
      seen.length = 0
      await feed.update((changes) => {
        seen.push(...changes)
        for (const { table, put, removed, isReset } of changes) {
          const of = rows.get(table) ?? new Map<string, Row>()
          if (isReset) of.clear()
          for (const key of removed) of.delete(JSON.stringify(key))
          for (const row of put) of.set(keyOf(table, row), row)
        }
      })
    },
    async checks(t: Test) {
      const whole = await store.tables(...TABLES)
      for (const [i, table] of TABLES.entries()) {
        const found = [...(rows.get(table)?.values() ?? [])]
        const byKey = (a: Row, b: Row) => (keyOf(table, a) < keyOf(table, b) ? -1 : 1)
        t.same(found.sort(byKey), [...(whole[i] ?? [])].sort(byKey), table.name)
      }
    },
  }
}

for (const [name, open] of Object.entries({ SQLite: openSqlite, PostgreSQL: openPostgres })) {
  void t.test(`${name}: insertions, updates, deletions and combinations of them`, async (t) => {
    const { store, clock } = await open(t)
    const { sealing } = store
    const reader = createReader(store)
    await reader.read()
    t.ok(
      reader.seen.every(({ isReset }) => isReset),
      'the first read is of everything',
    )
    await reader.checks(t)
    await reader.read()
    t.same(reader.seen, [], 'nothing has changed')

    const put = (n: number, value: string) =>
      store.change((transaction) =>
        putRow(transaction, sealing, FACTS, { name: `n ${String(n)}`, value }),
      )
    const remove = (n: number) =>
      store.change((transaction) =>
        deleteRow(transaction, sealing, FACTS, { name: `n ${String(n)}` }),
      )
    const STEPS: readonly (() => Promise<unknown>)[] = [
      () => put(1, 'a'),
      () => put(1, 'b'),
      () => Promise.all([put(2, 'a'), put(3, 'a'), kill(store, clock, ORDER)]),
      () => remove(1),
      async () => {
        await remove(2)
        await put(2, 'again')
      },
      async () => {
        await put(4, 'x')
        await remove(4)
      },
      async () => {
        for (let i = 10; i < 250; i++) await put(i, 'many')
      },
      () => store.change(() => Promise.resolve()),
    ]
    for (const step of STEPS) {
      await step()
      await reader.read()
      t.notOk(
        reader.seen.some(({ isReset }) => isReset),
        'by what changed alone',
      )
      await reader.checks(t)
    }
  })

  void t.test(`${name}: changes that could not be applied are delivered again`, async (t) => {
    const { store, clock } = await open(t)
    const feed = store.feed(SWITCHES)
    await feed.update(() => undefined)
    await kill(store, clock, ORDER)
    await t.rejects(
      feed.update(() => {
        throw new Error('no')
      }),
      /no/,
    )
    const again: TableChange[] = []
    await feed.update((changes) => void again.push(...changes))
    t.match(again, [{ put: [{ reason: 'why' }] }])
  })

  void t.test(`${name}: rows changed by others are not delivered as changes`, async (t) => {
    const { store, clock, tamper } = await open(t)
    const reader = createReader(store)
    await kill(store, clock, ORDER)
    await reader.read()
    const [before] = await store.tables(SWITCHES)
    await kill(store, clock, { ...ORDER, direction: 'decrypt' })
    await tamper(`DELETE FROM switches WHERE id = '${String(before?.[0]?.['id'])}'`)
    await reader.read()
    t.match(reader.seen, [{ put: [{ direction: 'decrypt' }], removed: [] }], 'it goes by the sum')
    await t.rejects(store.audit(), { code: 'STORE_TAMPERED' }, 'the audit finds what is missing')
    await tamper("UPDATE switches SET reason = 'x', changed_epoch = changed_epoch + 1000")
    await t.rejects(
      kill(store, clock, { ...ORDER, direction: 'encrypt' }).then((done) => {
        if (done.switch === undefined) throw Object.assign(new Error(), { code: 'STORE_TAMPERED' })
      }),
      { code: 'STORE_TAMPERED' },
    )
    await t.rejects(reader.read(), { code: 'STORE_TAMPERED' })
  })
}
