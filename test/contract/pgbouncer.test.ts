/** Runs the database contract on PostgreSQL behind PgBouncer in transaction pooling mode. */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import pg from 'pg'
import t from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { register } from '../../src/killswitch/instance/instances.ts'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { createMasterKeyFile } from '../../src/store/master-key.ts'
import { openPostgres } from '../../src/store/postgres/database.ts'
import { TABLES } from '../../src/store/postgres/tables.ts'
import { createStore, openStore } from '../../src/store/store.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { startPgbouncer } from '../support/pgbouncer.ts'
import { startPostgres } from '../support/postgres.ts'
import { KILLED, KEY_ID, startTestServer } from '../support/server.ts'
import { beatOf, identity, idsOf, ORDER, say } from './control-fixture.ts'
import { plant } from './planted.ts'
import { postgresContract } from './postgres-database.ts'

t.setTimeout(300_000)
const server = await startPostgres(t)
const port = await startPgbouncer(t, server)

postgresContract('PostgreSQL behind PgBouncer', async () => ({
  ...(await server.createDatabase()),
  port,
}))

void t.test('a server behind PgBouncer serves, and acknowledges a kill', async (t) => {
  const { host, user, database } = await server.createDatabase()
  const postgres = { host, port, user, database, tls: { mode: 'off' } }
  const latchkey = await startTestServer(t, {
    config: { control: KILLED, store: { postgres, masterKey: { file: 'master.key' } } },
  })
  const client = latchkey.client()
  const encrypt = async () => (await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status
  t.equal(await encrypt(), 200)
  const control = await openKillSwitch(latchkey.config)
  t.teardown(() => control.close())
  const order = { scope: { kind: 'all' }, direction: 'both', reason: 'r', operator: 'o' } as const
  t.match(await control.wait(await control.kill(order)), { instances: [{ how: 'acknowledged' }] })
  t.equal(await encrypt(), 400)
})

for (const [does, settings] of [
  ['refuses', []],
  ['ignores', ['ignore_startup_parameters = options']],
] as const) {
  void t.test(
    `a pooler that ${does} settings: nothing planted in an earlier schema is used`,
    async (t) => {
      const { host, user, database } = await server.createDatabase()
      const pooled = await startPgbouncer(t, server, settings)
      const path = join(t.testdir(), 'master.key')
      await createMasterKeyFile(path)
      const clock = new FakeClock()
      const postgres = { host, port: pooled, database, user }
      const options = { postgres, masterKey: { kind: 'file', path }, clock } as const
      await (await createStore(options)).close()

      const client = new pg.Client({ ...postgres, port: server.target.port })
      await client.connect()
      t.teardown(() => client.end())
      // The default search_path is "$user", public, and the user is latchkey.
      await client.query('CREATE SCHEMA latchkey')
      const planted = [...TABLES.keys()].filter((table) => table !== 'latchkey_schema')
      for (const table of planted) {
        await client.query(`CREATE TABLE latchkey.${table} (LIKE public.${table})`)
      }
      await client.query(plant('latchkey'))

      const store = await openStore(options)
      t.teardown(() => store.close())
      await t.resolves(store.audit())
      t.ok((await kill(store, clock, ORDER)).switch)
      const mark = { epoch: await store.database.epoch(), tag: '' }
      t.ok(mark.epoch > 0)
      await register(store, identity('one'), 0)
      t.match(await say(store, 'one', beatOf(1, mark)), { epoch: await store.database.epoch() })
      t.same(await idsOf(store), ['one'])
      for (const table of planted) {
        const { rows } = await client.query(`SELECT 1 FROM latchkey.${table}`)
        t.same(rows, [], `latchkey.${table} is empty`)
      }
    },
  )
}

void t.test('what another client of the pooler left in a session is not used', async (t) => {
  const { host, user, database } = await server.createDatabase()
  const pooled = await startPgbouncer(t, server, ['max_db_connections = 1'])
  const postgres = { host, port: pooled, database, user }
  const db = await openPostgres({ loadTarget: () => Promise.resolve(postgres), deadlineMs: 5000 })
  t.teardown(() => db.close())
  const count = 'SELECT count(*) AS rows FROM key_uses'
  const client = new pg.Client(postgres)
  await client.connect()
  await client.query('CREATE TEMPORARY TABLE key_uses AS SELECT 1 AS version')
  t.same((await client.query('SELECT 1 FROM key_uses')).rowCount, 1)
  await client.query('SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE')
  await client.end()
  t.same(await db.read(count), [{ rows: 0 }])
  t.same(await db.heartbeat(count), [{ rows: 0 }])
  t.same(await db.snapshot((reader) => reader.query(count)), [{ rows: 0 }])
  const level = "SELECT current_setting('transaction_isolation') AS level"
  t.same(await db.heartbeat(level), [{ level: 'read committed' }])
})

void t.test('a session that loses its prepared statements does without them', async (t) => {
  const target = await server.createDatabase()
  const loadTarget = () => Promise.resolve(target)
  const database = await openPostgres({ loadTarget, deadlineMs: 5000 })
  t.teardown(() => database.close())
  const ask = () =>
    database.heartbeat(
      "SELECT count(*) AS plans FROM pg_prepared_statements WHERE name LIKE 'latchkey%'",
    )
  await ask()
  t.same(await ask(), [{ plans: 1 }], 'the server has planned it')
  // Simulate a transaction pooler, which can move the session to another server connection.
  await database.heartbeat('DEALLOCATE ALL')
  t.same(await ask(), [{ plans: 0 }])
  t.same(await ask(), [{ plans: 0 }])
})
