/** Tests a rolling upgrade: instances of this release keep working while the next release changes the schema. */
// SPDX-License-Identifier: Apache-2.0
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import t, { type Test } from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { MIGRATIONS } from '../../src/store/migrations/migrations.ts'
import { startPostgres } from '../support/postgres.ts'
import { KILLED, KEY_ID, type TestServer, eventually, startTestServer } from '../support/server.ts'

t.setTimeout(120_000)

const NEXT = MIGRATIONS.length + 1
/** Every kind of change that a migration may make; see docs/internals/store.md. */
const STEP = [
  'CREATE TABLE novelty (id TEXT PRIMARY KEY)',
  'ALTER TABLE instances ADD COLUMN novelty TEXT',
  "ALTER TABLE control_events ADD COLUMN novelty TEXT DEFAULT 'x'",
]
const BY = { reason: 'r', operator: 'o', identity: 'os:o' } as const

async function goesOn(t: Test, server: TestServer, migrate: () => Promise<void>): Promise<void> {
  const client = server.client()
  const encrypt = async () => (await client.encrypt(KEY_ID, { plaintext: Buffer.alloc(32) })).status
  const control = await openKillSwitch(server.config)
  t.teardown(() => control.close())
  t.equal(await encrypt(), 200)
  await migrate()
  const order = { scope: { kind: 'all' }, direction: 'both', ...BY } as const
  t.match(await control.wait(await control.kill(order)), { instances: [{ how: 'acknowledged' }] })
  t.equal(await encrypt(), 400)
  await control.restore({ target: { scope: { kind: 'all' } }, ...BY })
  await eventually(async () => (await encrypt()) === 200)
  t.match(await control.status(2), { events: [{ kind: 'restore' }, { kind: 'kill' }] })
  await t.rejects(
    openKillSwitch(server.config),
    { code: 'STORE_NEWER' },
    'nobody starts anew with it',
  )
  await server.stop()
  await t.rejects(server.start(), { code: 'STORE_NEWER' })
}

void t.test('SQLite', async (t) => {
  const server = await startTestServer(t, { config: { control: KILLED } })
  await goesOn(t, server, () => {
    const database = new Sqlite((server.config.store as { readonly path: string }).path)
    for (const sql of [...STEP, `PRAGMA user_version = ${String(NEXT)}`]) database.exec(sql)
    database.close()
    return Promise.resolve()
  })
})

void t.test('PostgreSQL', async (t) => {
  const { target } = await startPostgres(t)
  const { host, port, user, database } = target
  const postgres = { host, port, user, database, tls: { mode: 'off' } }
  const server = await startTestServer(t, {
    config: { control: KILLED, store: { postgres, masterKey: { file: 'master.key' } } },
  })
  await goesOn(t, server, async () => {
    const client = new pg.Client({ host, port, user, database })
    await client.connect()
    const version = `UPDATE latchkey_schema SET version = ${String(NEXT)}`
    // Like a migration, run all statements in a single transaction.
    await client.query(['BEGIN', ...STEP, version, 'COMMIT'].join(';'))
    await client.end()
  })
})

void t.test('migrations only add, so older releases keep working', (t) => {
  const statements = MIGRATIONS.slice(1).flat()
  for (const [i, sql] of statements.entries()) {
    const [, before, after] = /^ALTER TABLE (\w+) RENAME TO (\w+)$/.exec(sql) ?? []
    if (before !== undefined) {
      const view = `CREATE VIEW ${before} AS SELECT * FROM ${String(after)}`
      t.equal(statements[i + 1], view, 'the old name can be read as before')
      continue
    }
    if (sql.startsWith('CREATE VIEW ')) continue
    const isAdded = /^\s*CREATE (TABLE|INDEX|UNIQUE INDEX) /.test(sql)
    const isColumn = /^\s*ALTER TABLE \w+ ADD COLUMN /.test(sql)
    t.ok(isAdded || isColumn, sql.slice(0, 60))
    if (isColumn)
      t.ok(
        sql.includes(' DEFAULT ') || !sql.includes('NOT NULL'),
        'a row without it can be written',
      )
  }
  t.end()
})
