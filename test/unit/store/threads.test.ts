/**
 * Tests that the thread of a closed SQLite store is reused for the next store, and keeps no state of the closed one.
 */
// SPDX-License-Identifier: Apache-2.0
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { openSqlite } from '../../../src/store/sqlite/database.ts'
import { SqliteThread } from '../../../src/store/sqlite/thread.ts'

/** Returns a function that returns the number of threads started since this call. */
function countThreads(t: Test): () => number {
  let count = 0
  const add = () => {
    count += 1
  }
  subscribe('worker_threads', add)
  t.teardown(() => {
    unsubscribe('worker_threads', add)
  })
  return () => count
}

const WRITE = "INSERT INTO facts (name, value) VALUES ('mine', 1)"
const READ = "SELECT count(*) AS rows FROM facts WHERE name = 'mine'"

void t.test('stores that are opened one after another share a thread', async (t) => {
  const folder = t.testdir({ 'one.db': '', 'two.db': '' })
  const started = countThreads(t)
  for (const name of ['one.db', 'two.db', 'one.db', 'two.db']) {
    const database = await openSqlite({ path: join(folder, name), deadlineMs: 60_000 })
    t.same(await database.read(READ), [{ rows: 0 }], 'nothing of the store before')
    await database.close()
    await t.rejects(database.read(READ), { code: 'STORE_CLOSED' })
  }
  t.ok(started() <= 1, 'none, if an earlier test left one')
})

void t.test('a store that is closed twice leaves the next one its thread', async (t) => {
  const folder = t.testdir({ 'one.db': '', 'two.db': '' })
  const first = await openSqlite({ path: join(folder, 'one.db'), deadlineMs: 60_000 })
  await first.close()
  const next = await openSqlite({ path: join(folder, 'two.db'), deadlineMs: 60_000 })
  t.teardown(() => next.close())
  await first.close()
  t.same(await next.read(READ), [{ rows: 0 }])
})

void t.test('a transaction that is open when the store closes is undone', async (t) => {
  const path = join(t.testdir({ 'store.db': '' }), 'store.db')
  const first = await openSqlite({ path, deadlineMs: 60_000 })
  const lost = first.transaction(async (transaction) => {
    await transaction.execute(WRITE)
    await first.close()
  })
  await t.rejects(lost, { code: 'STORE_CLOSED' })
  const next = await openSqlite({ path, deadlineMs: 60_000 })
  t.teardown(() => next.close())
  t.same(await next.read(READ), [{ rows: 0 }])
  await next.transaction((transaction) => transaction.execute(WRITE))
  t.same(await next.read(READ), [{ rows: 1 }])
})

void t.test('a thread that does not respond serves no other store', async (t) => {
  const folder = t.testdir({ 'stuck.db': '', 'next.db': '' })
  const open = {
    kind: 'open',
    path: join(folder, 'stuck.db'),
    busyTimeoutMs: 0,
    as: 'owner',
  } as const
  // The statement never ends, so the short deadline is exceeded on any machine.
  const sql =
    'WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT * FROM n WHERE i < 0'
  const thread = new SqliteThread(1)
  await thread.send(open).catch(() => undefined)
  const endless = thread.send({ kind: 'query', on: 'reader', sql, parameters: [] })
  await t.rejects(endless, { code: 'STORE_TIMEOUT' })
  await thread.close()
  const next = await openSqlite({ path: join(folder, 'next.db'), deadlineMs: 60_000 })
  t.teardown(() => next.close())
  t.same(await next.read(READ), [{ rows: 0 }])
})
