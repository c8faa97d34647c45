/** Tests on both engines that a store written by an earlier release is upgraded the first time it is opened. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import t, { type Test } from 'tap'
import { Secret } from '../../src/core/secret.ts'
import { loadStatus } from '../../src/killswitch/operator/status.ts'
import { loadBackup } from '../../src/store/backup.ts'
import { MIGRATIONS } from '../../src/store/migrations/migrations.ts'
import { openStore, type StoreOptions } from '../../src/store/store.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { startPostgres } from '../support/postgres.ts'
import { read } from '../support/repository.ts'

t.setTimeout(120_000)

/**
 * The fixture is a store that a release with three migrations wrote, using the passphrase below. Both engines accept
 * the same SQL.
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

const server = await startPostgres(t)

/** Loads the old store into a database as the given PostgreSQL role. */
async function writeOldStore(postgres: pg.ClientConfig): Promise<void> {
  const client = new pg.Client(postgres)
  await client.connect()
  const version = `CREATE TABLE latchkey_schema (version INTEGER NOT NULL);
    INSERT INTO latchkey_schema (version) VALUES (${String(SCHEMA)})`
  await client.query(`${OLD_SCHEMA};\n${ROWS};\n${version}`)
  await client.end()
}

void t.test('PostgreSQL', async (t) => {
  const { host, port, database, user } = await server.createDatabase()
  const postgres = { host, port, database, user }
  await writeOldStore(postgres)
  await checkUpgrade(t, { postgres })
})

void t.test(
  'PostgreSQL: only the owner of the tables upgrades, and the serving role serves',
  async (t) => {
    const { host, port, database } = await server.createDatabase()
    await server.query('CREATE ROLE owning LOGIN CREATEROLE')
    await server.query('CREATE ROLE serving LOGIN')
    await server.query(`ALTER DATABASE ${database} OWNER TO owning`)
    const owner = { host, port, database, user: 'owning' }
    const serving = { ...owner, user: 'serving' }
    await writeOldStore(owner)
    const options = { masterKey, clock: new FakeClock() }
    await t.rejects(openStore({ ...options, postgres: serving }), /42501/)
    await (await openStore({ ...options, postgres: owner, servingRole: 'serving' })).close()
    await checkUpgrade(t, { postgres: serving })
  },
)

/** A backup written by a release with eight migrations, the first release that supported backups. */
const BACKUP = fileURLToPath(
  new URL('../../../test/fixtures/store/schema-8-backup.jsonl', import.meta.url),
)

for (const engine of ['SQLite', 'PostgreSQL']) {
  void t.test(`${engine}: a backup of an earlier release is recovered`, async (t) => {
    const folder = t.testdir()
    const path = join(folder, 'master.key')
    const key = Buffer.from(read('test/fixtures/store/schema-8-master-key.txt'), 'base64')
    await writeFile(path, key, { mode: 0o600 })
    const { host, port, database, user } = await server.createDatabase()
    const options: StoreOptions = {
      ...(engine === 'SQLite'
        ? { path: join(folder, 'store.db') }
        : { postgres: { host, port, database, user } }),
      ...{ masterKey: { kind: 'file', path }, clock: new FakeClock() },
    }
    t.match(await loadBackup(BACKUP, options), { schema: 8, epoch: 5 })
    const store = await openStore(options)
    t.teardown(() => store.close())
    await store.audit()
    t.match(await loadStatus(store, 10), {
      switches: [{ id: 'b1915501ef5c', reason: 'of the fixture' }],
    })
    const { keys, credentials } = await store.contents()
    t.equal(keys.length, 2)
    t.match(credentials, [{ access_key_id: 'V6ZOIV7DWUTDKJM3QTORMD4FRD' }])
  })
}
