/** The contract for queries that a snapshot is told to expect: they change the number of messages, and nothing else. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import type { Database, ExpectedQuery, Reader } from '../../src/store/database.ts'
import type { DatabaseContract } from './database.ts'

const FACTS: ExpectedQuery = { sql: 'SELECT name, value FROM facts ORDER BY name', parameters: [] }
const page = (from: number, to: number): ExpectedQuery => ({
  sql: 'SELECT epoch, tag FROM epochs WHERE epoch >= ? AND epoch <= ? ORDER BY epoch',
  parameters: [from, to],
})
const read = (reader: Reader, { sql, parameters }: ExpectedQuery) => reader.query(sql, parameters)

async function fill(database: Database): Promise<void> {
  await database.transaction(async (transaction) => {
    const fact = 'INSERT INTO facts (name, value) VALUES (?, ?)'
    for (const name of ['a', 'b']) await transaction.execute(fact, [name, `${name}; 'quoted'`])
    for (const epoch of [1, 2, 2 ** 52])
      await transaction.execute(
        "INSERT INTO epochs (epoch, tag, accepts_any, mac) VALUES (?, ?, 0, '')",
        [epoch, `tag ${String(epoch)}`],
      )
  })
}

export function expectedQueriesContract({ name, create }: DatabaseContract): void {
  const test = (
    title: string,
    check: (t: Test, open: () => Promise<Database>) => Promise<void>,
  ) => {
    void t.test(`${name}: ${title}`, async (t) => {
      const fixture = await create(t)
      await check(t, () => fixture.open())
    })
  }

  test('expected queries return what they return otherwise', async (t, open) => {
    const database = await open()
    await fill(database)
    const queries = [FACTS, page(1, 2), page(-5, 1), page(3, 2 ** 52), page(7, 8)]
    const work = async (reader: Reader) => {
      const found = []
      for (const query of [...queries, ...queries]) found.push(await read(reader, query))
      return found
    }
    const expected = await database.snapshot(work)
    t.same(
      expected.slice(0, 5).map((rows) => rows.length),
      [2, 2, 1, 1, 0],
    )
    t.same(await database.snapshot(work, queries), expected)
    t.same(await database.snapshot(work, [FACTS, page(9, 9)]), expected, 'some were not expected')
  })

  test('work that sends an unexpected query still sees one snapshot', async (t, open) => {
    const [database, writer] = [await open(), await open()]
    await fill(database)
    const change = (value: string) =>
      writer.transaction(async (transaction) => {
        await transaction.execute('UPDATE facts SET value = ?', [value])
        await transaction.execute('UPDATE epochs SET tag = ?', [value])
      })
    await change('before')
    let runs = 0
    const found = await database.snapshot(
      async (reader) => {
        runs += 1
        const facts = await read(reader, FACTS)
        if (runs === 1) await change('after')
        const epochs = await read(reader, page(1, 1))
        return [facts[0]?.['value'], epochs[0]?.['tag']]
      },
      [FACTS],
    )
    t.equal(found[0], found[1])
    t.ok(runs <= 2)
  })

  test('work that fails for its own reason is not repeated', async (t, open) => {
    const database = await open()
    await fill(database)
    const reason = new Error('no')
    let runs = 0
    const failed = database.snapshot(
      async (reader) => {
        runs += 1
        await read(reader, FACTS)
        throw reason
      },
      [FACTS],
    )
    t.equal(await failed.catch((error: unknown) => error), reason)
    t.equal(runs, 1)
  })

  test('an expected query that fails ends its snapshot only', async (t, open) => {
    const database = await open()
    await fill(database)
    const bad: ExpectedQuery = { sql: 'SELECT value FROM no_such_table', parameters: [] }
    const failed = database.snapshot(
      async (reader) => {
        await read(reader, FACTS)
        return read(reader, bad)
      },
      [FACTS, bad],
    )
    await t.rejects(failed, { name: 'StorageError', code: 'STORE_FAILED' })
    const facts = (reader: Reader) => read(reader, FACTS)
    t.equal((await database.snapshot(facts, [FACTS])).length, 2)
    t.equal((await database.snapshot(facts)).length, 2)
  })

  test('an expected query cannot write', async (t, open) => {
    const database = await open()
    await fill(database)
    const write: ExpectedQuery = { sql: 'DELETE FROM facts', parameters: [] }
    const written = database.snapshot((reader) => read(reader, write), [write])
    await t.rejects(written, { name: 'StorageError' })
    t.equal((await database.snapshot((reader) => read(reader, FACTS))).length, 2)
  })
}
