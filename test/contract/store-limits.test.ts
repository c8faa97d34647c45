/**
 * Tests that both engines wait as long as docs/store.md says. The test reads settings, so load does not affect the
 * result.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import t from 'tap'
import type { Store } from '../../src/store/store.ts'
import { openPostgres, openSqlite } from './control-engines.ts'

const DOCUMENT = readFileSync('docs/store.md', 'utf8').replaceAll(/\s+/g, ' ')

/** Returns the duration that a sentence in docs/store.md states, in milliseconds. */
function documented(sentence: RegExp): number {
  const [, seconds] = sentence.exec(DOCUMENT) ?? []
  return Number(seconds) * 1000
}

async function read(store: Store, sql: string, name: string): Promise<number> {
  const [row] = await store.database.transaction((transaction) => transaction.query(sql))
  return Number(row?.[name])
}

void t.test('PostgreSQL ends waits and suspended transactions in time', async (t) => {
  const { store, openAgain } = await openPostgres(t, {})
  const setting = (name: string) =>
    read(store, `SELECT setting FROM pg_settings WHERE name = '${name}'`, 'setting')
  const waiting = documented(/writer that waits for more than ([\d.]+) s gets `STORE_BUSY`/)
  const suspended = documented(/suspended inside a transaction loses it after ([\d.]+) s/)
  t.equal(await setting('lock_timeout'), waiting)
  t.equal(await setting('idle_in_transaction_session_timeout'), suspended)
  t.equal(
    await setting('statement_timeout'),
    documented(/statement that takes more than ([\d.]+) s fails with `STORE_TIMEOUT`/),
  )
  t.ok(waiting > suspended, 'a kill outlasts a suspended writer')
  const [beats] = await (
    await openAgain()
  ).database.heartbeat("SELECT setting FROM pg_settings WHERE name = 'statement_timeout'")
  t.equal(
    Number(beats?.['setting']),
    documented(/One that takes more than ([\d.]+) s is abandoned/),
  )
})

void t.test('SQLite ends waits in time', async (t) => {
  const { store } = await openSqlite(t, {})
  t.equal(
    await read(store, 'PRAGMA busy_timeout', 'timeout'),
    documented(/waits for another process for ([\d.]+) s fails with `STORE_BUSY`/),
  )
})
