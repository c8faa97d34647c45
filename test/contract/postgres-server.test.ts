/**
 * Tests PostgreSQL servers with different defaults, locales, encodings and connection limits, and the state that a
 * crash leaves.
 */
// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import pg from 'pg'
import t, { type Test } from 'tap'
import { createKeyAdministration } from '../../src/keys/software/administration.ts'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { loadStatus } from '../../src/killswitch/operator/status.ts'
import type { PostgresTarget } from '../../src/store/postgres/address.ts'
import { createMasterKeyFile } from '../../src/store/master-key.ts'
import { createStore, openStore } from '../../src/store/store.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { binary, startPostgres } from '../support/postgres.ts'
import { keyId } from '../support/server.ts'
import { keyStoreName } from '../support/store.ts'
import { ORDER } from './control-fixture.ts'

t.setTimeout(200_000)

const DEMO = keyStoreName('demo')

const addressOf = ({ host, port, user }: PostgresTarget, database: string) => ({
  ...{ host, port, user, database },
})

async function optionsFor(t: Test, postgres: ReturnType<typeof addressOf>) {
  const path = join(t.testdir(), 'master.key')
  await createMasterKeyFile(path)
  return { postgres, masterKey: { kind: 'file', path } as const, clock: new FakeClock() }
}

/** Moves a database as an operator would: pg_dump, then psql into another database. */
function moveDump({ host, port, user }: PostgresTarget, from: string, to: string): void {
  const where = ['-h', host, '-p', String(port), '-U', user]
  const input = execFileSync(binary('pg_dump'), [...where, from])
  execFileSync(binary('psql'), [...where, '-d', to, '-q', '-v', 'ON_ERROR_STOP=1'], { input })
}

void t.test("commits are durable regardless of the role's settings", async (t) => {
  const server = await startPostgres(t)
  const target = addressOf(server.target, (await server.createDatabase()).database)
  await (await createStore(await optionsFor(t, target))).close()
  const CASES = {
    off: 'on',
    local: 'on',
    remote_write: 'on',
    on: 'on',
    remote_apply: 'remote_apply',
  }
  const options = await optionsFor(
    t,
    addressOf(server.target, (await server.createDatabase()).database),
  )
  await (await createStore(options)).close()
  const SHOW = "SELECT current_setting('synchronous_commit') AS it"
  for (const [set, has] of Object.entries(CASES)) {
    await server.query(`ALTER ROLE latchkey SET synchronous_commit = ${set}`)
    const { database, close } = await openStore(options)
    const inTransaction = await database.transaction((transaction) => transaction.query(SHOW))
    for (const rows of [
      inTransaction,
      await database.heartbeat(SHOW),
      await database.write(SHOW),
    ]) {
      t.same(rows, [{ it: has }], set)
    }
    await close()
  }
})

void t.test(
  'a crash right after a kill does not lose it, although other commits are lost',
  async (t) => {
    // The server delays flushing, so commits that did not wait for the flush exist only in memory.
    const server = await startPostgres(t, ['wal_writer_delay = 10s', 'synchronous_commit = off'])
    const target = addressOf(server.target, (await server.createDatabase()).database)
    const options = await optionsFor(t, target)
    const store = await createStore(options)
    const client = new pg.Client(target)
    client.on('error', () => undefined)
    await client.connect()
    await client.query('CREATE SCHEMA beside; CREATE TABLE beside.notes (id integer)')
    const { switch: made } = await kill(store, options.clock, ORDER)
    await client.query('INSERT INTO beside.notes VALUES (1)')
    await server.kill()
    await store.close()
    await client.end().catch(() => undefined)
    await server.start()
    const again = await openStore(options)
    t.teardown(() => again.close())
    t.match(await loadStatus(again, 1), {
      switches: [{ id: made?.id }],
      events: [{ kind: 'kill' }],
    })
    const [row] = await again.database.snapshot((reader) =>
      reader.query('SELECT count(*) AS notes FROM beside.notes'),
    )
    t.equal(row?.['notes'], 0, 'the server does lose what was not waited for')
  },
)

void t.test('a dump that moves from one collation to another is the same store', async (t) => {
  const server = await startPostgres(t)
  const from =
    "ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'de-AT' LOCALE 'C.UTF-8' TEMPLATE template0"
  await server.query(`CREATE DATABASE before ${from}`)
  const options = await optionsFor(t, addressOf(server.target, 'before'))
  const store = await createStore(options)
  const ids = ['a-b', 'ab', 'A', 'Ab', 'a_b', 'aB', 'b', '-a', '_b', 'B'].map(keyId)
  const keys = createKeyAdministration(store, DEMO, options.clock)
  for (const id of ids) await keys.createKey({ keyId: id, canEncrypt: true, canDecrypt: true })
  await kill(store, options.clock, ORDER)
  const ordered = async (database: typeof store.database) =>
    (
      await database.snapshot((reader) =>
        reader.query('SELECT key_id FROM external_keys ORDER BY key_id'),
      )
    ).map((row) => String(row['key_id']))
  const orderBefore = await ordered(store.database)
  await store.close()

  await server.query("CREATE DATABASE after ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0")
  moveDump(server.target, 'before', 'after')
  const moved = await openStore({ ...options, postgres: addressOf(server.target, 'after') })
  t.teardown(() => moved.close())
  t.not(String(await ordered(moved.database)), String(orderBefore), 'the order does differ')
  await moved.audit()
  t.equal((await moved.contents()).keys.length, ids.length)
  t.ok(
    (await kill(moved, options.clock, { ...ORDER, direction: 'decrypt' })).switch,
    'a kill is written',
  )
})

void t.test(
  'a database that cannot store all text is refused, with the command to create one',
  async (t) => {
    const server = await startPostgres(t)
    await server.query("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    const options = await optionsFor(t, addressOf(server.target, 'latin'))
    const refused = {
      code: 'STORE_UNSUITABLE',
      message: 'the database latin has the encoding LATIN1; expected UTF8',
      hint: /CREATE DATABASE latchkey ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0/,
    }
    await t.rejects(createStore(options), refused, 'init')
    // Create the schema in the LATIN1 database, as an earlier release allowed.
    const good = await optionsFor(
      t,
      addressOf(server.target, (await server.createDatabase()).database),
    )
    const store = await createStore(good)
    await store.close()
    moveDump(server.target, good.postgres.database, 'latin')
    const old = { ...good, postgres: addressOf(server.target, 'latin') }
    await t.rejects(openStore({ ...old, requiresUtf8: true }), refused, 'serve')
    const commands = await openStore(old)
    t.teardown(() => commands.close())
    const { switch: made } = await kill(commands, good.clock, { ...ORDER, reason: 'incident ✓' })
    t.match(made?.reason, /^incident /, 'no text is why a kill is not written')
  },
)

void t.test('with every connection in use, the reserved one writes the kill', async (t) => {
  const server = await startPostgres(t, ['superuser_reserved_connections = 0'])
  const target = addressOf(server.target, (await server.createDatabase()).database)
  await server.query('CREATE ROLE serving LOGIN')
  await server.query(`ALTER DATABASE ${target.database} OWNER TO serving`)
  const options = await optionsFor(t, { ...target, user: 'serving' })
  await (await createStore(options)).close()
  await server.query('ALTER ROLE serving CONNECTION LIMIT 4')
  const kept = await openStore({ ...options, connections: 'kept' })
  const others = await Promise.all(
    [1, 2, 3].map(async () => {
      const client = new pg.Client({ ...target, user: 'serving' })
      await client.connect()
      return client
    }),
  )
  t.teardown(async () => {
    await kept.close()
    for (const client of others) await client.end()
  })
  await t.rejects(openStore({ ...options, connections: 'one' }), {
    code: 'STORE_BUSY',
    message: /SQLSTATE 53300 \(too many connections\)/,
    hint: /the admin listener, which already has a connection open/,
  })
  t.ok((await kill(kept, options.clock, ORDER)).switch)
  t.match(
    await kept.database.warnings(1),
    [/the serving processes need 3 of the 4 connections|^$/].slice(0, 0),
  )
  t.match((await kept.database.warnings(2))[0], /need 6 of the server's 4 connections/)
})
