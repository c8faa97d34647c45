/**
 * The contract that the control store requires of every `Database` implementation. It uses only the interface and the
 * table `facts (name, value)`, which the first migration creates.
 */
// SPDX-License-Identifier: Apache-2.0
import { setTimeout as pause } from 'node:timers/promises'
import t, { type Test } from 'tap'
import {
  StorageError,
  type Database,
  type Reader,
  type Transaction,
} from '../../src/store/database.ts'

export interface DatabaseFixture {
  /** Opens another handle on the same database, with its own connections. */
  open(options?: { readonly deadlineMs?: number }): Promise<Database>
}

export interface DatabaseContract {
  readonly name: string
  /** Returns an empty database. Handles that the test leaves open are closed when it ends. */
  readonly create: (t: Test) => Promise<DatabaseFixture>
  /** A SELECT that keeps the engine busy for several seconds on any machine. */
  readonly slowQuery: string
}

/** Timeout in milliseconds, much shorter than the time of `slowQuery`, and much longer than other statements take. */
const SHORT_MS = 500

const INSERT = 'INSERT INTO facts (name, value) VALUES (?, ?)'
const UPDATE = 'UPDATE facts SET value = ? WHERE name = ?'

async function readFact(reader: Reader, name: string): Promise<string | undefined> {
  const rows = await reader.query('SELECT value FROM facts WHERE name = ?', [name])
  const value = rows[0]?.['value']
  return value === undefined ? undefined : String(value)
}

const look = (database: Database, name: string) =>
  database.snapshot((reader) => readFact(reader, name))

const put = (database: Database, name: string, value: string) =>
  database.transaction((transaction) => transaction.execute(INSERT, [name, value]))

/** Creates a gate that suspends work until the test opens it. */
function gate() {
  let open: () => void = () => undefined
  const opened = new Promise<void>((resolve) => (open = resolve))
  return { opened, open }
}

/** Retries work that misses its deadline, as it may on a slow machine. */
async function insist<T>(work: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof StorageError && error.code === 'STORE_TIMEOUT')) throw error
    }
  }
}

async function addOne(transaction: Transaction): Promise<void> {
  const count = Number(await readFact(transaction, 'count'))
  await transaction.execute(UPDATE, [String(count + 1), 'count'])
}

export function databaseContract({ name, create, slowQuery }: DatabaseContract): void {
  const test = (title: string, check: (t: Test, fixture: DatabaseFixture) => Promise<void>) => {
    void t.test(`${name}: ${title}`, async (t) => {
      await check(t, await create(t))
    })
  }

  test('committed data is visible to this handle, another handle and a later one', async (t, f) => {
    const [first, second] = [await f.open(), await f.open()]
    const result = await first.transaction(async (transaction) => {
      t.equal(await transaction.execute(INSERT, ['a', 'one']), 1)
      t.equal(await readFact(transaction, 'a'), 'one', 'a transaction reads its own writes')
      return 'result'
    })
    t.equal(result, 'result')
    t.equal(await look(first, 'a'), 'one')
    t.equal(await look(second, 'a'), 'one')
    await Promise.all([first.close(), second.close()])
    t.equal(await look(await f.open(), 'a'), 'one')
  })

  test('execute counts the rows that it changed', async (t, f) => {
    const database = await f.open()
    await put(database, 'a', '1')
    await database.transaction(async (transaction) => {
      t.equal(await transaction.execute(UPDATE, ['3', 'nobody']), 0)
      t.equal(await transaction.execute('DELETE FROM facts WHERE name = ?', ['a']), 1)
    })
  })

  test('text, integers below 2^53, bytes and null are read back unchanged', async (t, f) => {
    const database = await f.open()
    const text = 'ä "quote" \' ; -- \n€'
    await put(database, text, '')
    t.equal(await look(database, text), '')
    const rows = await database.snapshot((reader) =>
      reader.query('SELECT ? AS n, ? AS i, ? AS t', [null, Number.MAX_SAFE_INTEGER, text]),
    )
    t.same(rows, [{ n: null, i: Number.MAX_SAFE_INTEGER, t: text }])
    const bytes = new Uint8Array([0, 1, 254, 255])
    const [row] = await database.snapshot((reader) => reader.query('SELECT ? AS b', [bytes]))
    t.ok(Buffer.from(row?.['b'] as Uint8Array).equals(bytes))
  })

  test('a rejection rolls the whole transaction back and is passed on', async (t, f) => {
    const [database, reason] = [await f.open(), new Error('no')]
    await put(database, 'a', 'before')
    const failed = database.transaction(async (transaction) => {
      await transaction.execute(UPDATE, ['after', 'a'])
      await transaction.execute(INSERT, ['b', 'new'])
      throw reason
    })
    t.equal(await failed.catch((error: unknown) => error), reason)
    t.equal(await look(database, 'a'), 'before')
    t.equal(await look(database, 'b'), undefined)
    t.equal(await put(database, 'b', 'next'), 1, 'the handle goes on')
  })

  test('a statement that fails rolls the whole transaction back', async (t, f) => {
    const database = await f.open()
    const failed = database.transaction(async (transaction) => {
      await transaction.execute(INSERT, ['a', '1'])
      await transaction.execute('INSERT INTO no_such_table (x) VALUES (1)')
    })
    await t.rejects(failed, { name: 'StorageError', code: 'STORE_FAILED' })
    t.equal(await look(database, 'a'), undefined)
  })

  test('a duplicate primary key is a CONFLICT that names no value', async (t, f) => {
    const database = await f.open()
    await put(database, 'secret-name', 'secret-value')
    const failed = database.transaction(async (transaction) => {
      await transaction.execute(INSERT, ['b', '1'])
      await transaction.execute(INSERT, ['secret-name', 'other'])
    })
    const error = await failed.catch((thrown: unknown) => thrown as Error)
    t.match(error, { name: 'StorageError', code: 'CONFLICT' })
    t.notMatch((error as Error).message, /secret/)
    t.equal(await look(database, 'secret-name'), 'secret-value')
    t.equal(await look(database, 'b'), undefined)
  })

  test('uncommitted changes are invisible to others', async (t, f) => {
    const [writer, other] = [await f.open(), await f.open()]
    await put(writer, 'a', 'before')
    const [written, go] = [gate(), gate()]
    const pending = writer.transaction(async (transaction) => {
      await transaction.execute(UPDATE, ['after', 'a'])
      written.open()
      await go.opened
    })
    await written.opened
    t.equal(await look(writer, 'a'), 'before', 'nor a snapshot of the same handle')
    t.equal(await look(other, 'a'), 'before')
    go.open()
    await pending
    t.equal(await look(other, 'a'), 'after')
  })

  test('a snapshot sees one state, regardless of concurrent commits', async (t, f) => {
    const [reader, writer] = [await f.open(), await f.open()]
    await put(writer, 'a', 'before')
    await reader.snapshot(async (snapshot) => {
      t.equal(await readFact(snapshot, 'a'), 'before')
      await writer.transaction((transaction) => transaction.execute(UPDATE, ['after', 'a']))
      await put(writer, 'b', 'new')
      t.equal(await readFact(snapshot, 'a'), 'before')
      t.equal(await readFact(snapshot, 'b'), undefined)
    })
    t.equal(await look(reader, 'a'), 'after')
  })

  test('a snapshot cannot write', async (t, f) => {
    const database = await f.open()
    const written = database.snapshot((reader) => reader.query(INSERT, ['a', '1']))
    await t.rejects(written, { name: 'StorageError' })
    t.equal(await look(database, 'a'), undefined)
  })

  test("one handle's transactions run in sequence, even after a failure", async (t, f) => {
    const database = await f.open()
    const order: string[] = []
    const run = (label: string, fails = false) =>
      database.transaction(async (transaction) => {
        order.push(`${label} begins`)
        await transaction.execute(INSERT, [label, ''])
        await readFact(transaction, label)
        order.push(`${label} ends`)
        if (fails) throw new Error(label)
      })
    const outcomes = await Promise.allSettled([run('a'), run('b', true), run('c')])
    t.same(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    )
    t.same(order, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  })

  test('no update is lost between two handles', async (t, f) => {
    const handles = [await f.open({ deadlineMs: 20_000 }), await f.open({ deadlineMs: 20_000 })]
    const [first] = handles
    await first?.transaction((transaction) => transaction.execute(INSERT, ['count', '0']))
    const rounds = Array.from({ length: 20 }, () => handles).flat()
    await Promise.all(rounds.map((handle) => handle.transaction(addOne)))
    t.equal(first && (await look(first, 'count')), '40')
  })

  test('waiting too long for a lock is STORE_BUSY, and no change is partial', async (t, f) => {
    const [holder, other] = [await f.open(), await f.open({ deadlineMs: 20_000 })]
    const held = gate()
    let mayEnd = false
    const pending = holder.transaction(async (transaction) => {
      await transaction.execute(INSERT, ['a', 'holder'])
      held.open()
      // Keep this transaction busy: the server would end an idle transaction before the other writer gives up.
      while (!mayEnd) await transaction.query('SELECT 1 AS busy').then(() => pause(100))
    })
    await held.opened
    await t.rejects(put(other, 'b', '1'), { name: 'StorageError', code: 'STORE_BUSY' })
    mayEnd = true
    await pending
    t.same([await look(other, 'a'), await look(other, 'b')], ['holder', undefined])
    t.equal(await put(other, 'b', '2'), 1)
  })

  test('a statement past its deadline is STORE_TIMEOUT, and the handle recovers', async (t, f) => {
    const writer = await f.open({ deadlineMs: 60_000 })
    const database = await insist(() => f.open({ deadlineMs: SHORT_MS }))
    const slow = database.transaction(async (transaction) => {
      await transaction.execute(INSERT, ['a', '1'])
      await transaction.query(slowQuery)
    })
    await t.rejects(slow, { name: 'StorageError', code: 'STORE_TIMEOUT' })
    // Retry while the engine is busy, because the disk may be slow.
    await insist(() =>
      database.transaction(async (transaction) => {
        await transaction.execute('DELETE FROM facts WHERE name = ?', ['b'])
        await transaction.execute(INSERT, ['b', '1'])
      }),
    )
    t.equal(await look(writer, 'b'), '1')
    t.equal(await look(writer, 'a'), undefined, 'what timed out was rolled back')
  })

  test('the epoch is current at the call, even while a snapshot is open', async (t, f) => {
    const [database, other] = [await f.open(), await f.open()]
    await put(other, 'epoch', '7')
    t.equal(await database.epoch(), 7)
    const [begun, go] = [gate(), gate()]
    const snapshot = database.snapshot(async (reader) => {
      await readFact(reader, 'epoch')
      begun.open()
      await go.opened
    })
    await begun.opened
    await other.transaction((transaction) => transaction.execute(UPDATE, ['8', 'epoch']))
    const epoch = database.epoch()
    go.open()
    t.equal(await epoch, 8)
    await snapshot
  })

  test('after close, every call is STORE_CLOSED, and close can be called again', async (t, f) => {
    const database = await f.open()
    await put(database, 'a', '1')
    for (let round = 0; round < 2; round++) await database.close()
    const closed = { name: 'StorageError', code: 'STORE_CLOSED' }
    await t.rejects(database.epoch(), closed)
    await t.rejects(look(database, 'a'), closed)
    await t.rejects(put(database, 'b', '1'), closed)
  })

  test('close rolls back what was not committed', async (t, f) => {
    const database = await f.open()
    const pending = database.transaction((transaction) =>
      transaction.execute(INSERT, ['a', '1']).then(() => database.close()),
    )
    await t.rejects(pending, { name: 'StorageError', code: 'STORE_CLOSED' })
    t.notOk(await look(await f.open(), 'a'))
  })

  test('opening again changes nothing', async (t, f) => {
    const first = await f.open()
    await put(first, 'a', '1')
    for (let round = 0; round < 3; round++) await (await f.open()).close()
    const [row] = await first.snapshot((reader) =>
      reader.query(`SELECT (SELECT count(*) FROM facts) AS facts,
        (SELECT count(*) FROM external_keys) AS keys, (SELECT count(*) FROM credentials) AS others`),
    )
    t.same(row, { facts: 1, keys: 0, others: 0 })
  })
}
