/**
 * Tests on both engines that a store written by an earlier release is upgraded at its first start.
 */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import t, { type Test } from 'tap'
import { Secret } from '../../src/core/secret.ts'
import { loadStatus } from '../../src/killswitch/operator/status.ts'
import { MIGRATIONS } from '../../src/store/migrations/migrations.ts'
import { openStore, type StoreOptions } from '../../src/store/store.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { startPostgres } from '../support/postgres.ts'
import { read } from '../support/repository.ts'

t.setTimeout(120_000)

/**
 * Written by a release with three migrations and with this passphrase; both engines accept the same
 * statements.
 */
const SCHEMA = 3
const ROWS = read('test/fixtures/store/schema-3.sql')
const masterKey = {
  kind: 'passphrase',
  passphrase: new Secret('a passphrase for a fixture'),
} as const
const OLD_SCHEMA = MIGRATIONS.slice(0, SCHEMA).flat().join(';\n')

async function checkUpgrade(t: Test, place: Omit<StoreOptions, 'masterKey' | 'clock'>) {
  for (const when of ['first', 'second']) {
    const store = await openStore({ ...place, masterKey, clock: new FakeClock() })
    const status = await loadStatus(store, 10)
    t.match(status.deadManSwitches, [
      { keyStore: 'demo', ttlMs: 4_102_444_800_000, operator: 'alice' },
      { keyStore: 'other', ttlMs: 900_000, reason: 'left' },
    ])
    t.match(status.switches, [{ id: '464489388fa4', reason: 'incident' }], `${when} start`)
    t.equal(status.events.length, 5)
    t.same(status.requests, [], 'one that names no identity cannot be approved')
    await store.close()
  }
}

void t.test('SQLite', async (t) => {
  const path = join(t.testdir(), 'store.db')
  const database = new Sqlite(path)
  database.exec(`${OLD_SCHEMA};\n${ROWS}`)
  database.pragma(`user_version = ${String(SCHEMA)}`)
  database.pragma('application_id = 0x4c6b6579')
  database.close()
  await checkUpgrade(t, { path })
})

void t.test('PostgreSQL', async (t) => {
  const server = await startPostgres(t)
  const { host, port, database, user } = await server.createDatabase()
  const client = new pg.Client({ host, port, database, user })
  await client.connect()
  const version = `CREATE TABLE latchkey_schema (version INTEGER NOT NULL);
    INSERT INTO latchkey_schema (version) VALUES (${String(SCHEMA)})`
  await client.query(`${OLD_SCHEMA};\n${ROWS};\n${version}`)
  await checkUpgrade(t, { postgres: { host, port, database, user } })
  await client.end()
})
