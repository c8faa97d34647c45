/** Tests on both engines that answers with many rows arrive whole, in order, and in several turns of the event loop. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import type { Count } from '../../src/usage/recorder.ts'
import { loadActivity, writeCounts } from '../../src/usage/usage-table.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import type { ControlFixture } from './control-fixture.ts'

t.setTimeout(180_000)

const MINUTE_MS = 60_000
/** More rows than are passed at once. */
const MANY = 2100
const PERIOD = { since: 0, until: 10 * MINUTE_MS, spanMs: MINUTE_MS }

const countOf = (i: number): Count => ({
  subject: {
    ...{ keyStore: 'demo', keyId: `key-${String(i)}`, operation: 'Decrypt' },
    ...{ kmsOperation: 'Decrypt', outcome: 'ok', isOverflow: false },
  },
  ...{ minute: MINUTE_MS, requests: i + 1, firstAt: MINUTE_MS, lastAt: MINUTE_MS },
})

function contract(name: string, open: (t: Test) => Promise<ControlFixture>): void {
  void t.test(name, async (t) => {
    const { store } = await open(t)
    for (let at = 0; at < MANY; at += 100) {
      const counts = Array.from({ length: 100 }, (_, i) => countOf(at + i))
      await writeCounts(store.database, counts)
    }
    let turns = 0
    let isOver = false
    const count = () => {
      turns += 1
      if (!isOver) setImmediate(count)
    }
    setImmediate(count)
    const found = await store.database.snapshot((reader) => loadActivity(reader, PERIOD))
    isOver = true
    t.ok(turns >= 8, String(turns))
    t.same(
      found.map(({ requests }) => requests),
      Array.from({ length: MANY }, (_, i) => MANY - i),
    )
    t.equal(found[0]?.subject.keyId, `key-${String(MANY - 1)}`)

    await t.test('also two at once, and after one that was not read to its end', async (t) => {
      const sql = (order: string) =>
        `SELECT requests FROM activity WHERE span_ms = ? ORDER BY ${order}`
      const [up, down] = await store.database.snapshot((reader) =>
        Promise.all([
          reader.query(sql('requests'), [MINUTE_MS]),
          reader.query(sql('requests DESC'), [MINUTE_MS]),
        ]),
      )
      t.equal(up.length, MANY)
      t.same([...up].reverse(), down)
      const failing = store.database.snapshot(async (reader) => {
        const reading = reader.query(sql('requests'), [MINUTE_MS])
        reading.catch(() => undefined)
        await Promise.reject(new Error('given up'))
      })
      await t.rejects(failing, { message: 'given up' })
      const again = await store.database.read(sql('requests'), [MINUTE_MS])
      t.same(again, up)
    })
  })
}

contract('SQLite', openSqlite)
contract('PostgreSQL', openPostgres)
