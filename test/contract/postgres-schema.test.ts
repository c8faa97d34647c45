/**
 * Checks that ordinary maintenance of a PostgreSQL server never looks like tampering and never delays a change, and
 * that nothing planted in another schema runs.
 */
// SPDX-License-Identifier: Apache-2.0
import pg from 'pg'
import t from 'tap'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { loadStatus } from '../../src/killswitch/operator/status.ts'
import type { Row } from '../../src/store/database.ts'
import { checkPostgresSchema } from '../../src/store/postgres/schema.ts'
import { openPostgres } from './control-engines.ts'
import { ORDER } from './control-fixture.ts'
import { plant } from './planted.ts'

t.setTimeout(240_000)

const MAINTENANCE = [
  'ANALYZE',
  'VACUUM FULL',
  'REINDEX TABLE switches',
  'REINDEX TABLE CONCURRENTLY switches',
  'REINDEX TABLE CONCURRENTLY external_keys',
  'CLUSTER switches USING switches_pkey',
  'CREATE UNIQUE INDEX CONCURRENTLY left_by_reindex ON external_keys (key_store, key_id)',
  'CREATE INDEX CONCURRENTLY left_by_reindex_too ON switches (changed_epoch)',
  'ALTER TABLE switches SET (fillfactor = 80)',
  'ALTER INDEX switches_changed SET (fillfactor = 80)',
  'ALTER INDEX switches_pkey SET (fillfactor = 80)',
  'ALTER TABLE switches REPLICA IDENTITY FULL',
  'ALTER TABLE switches ALTER COLUMN reason SET STATISTICS 500',
  'CREATE STATISTICS elsewhere ON key_store, key_id FROM external_keys',
  'CREATE EXTENSION pg_stat_statements',
  `DO $$DECLARE name text; BEGIN CREATE ROLE other_owner;
     FOR name IN SELECT relname FROM pg_class
       WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
       EXECUTE format('ALTER TABLE %I OWNER TO other_owner', name); END LOOP; END$$`,
]

void t.test('maintenance of the server changes no definition', async (t) => {
  const { store, tamper } = await openPostgres(t)
  for (const sql of MAINTENANCE) {
    await tamper(sql)
    await t.resolves(store.audit(), sql)
  }
  await t.resolves(store.change(() => Promise.resolve()))
})

void t.test('a schema of any name can hold the tables', async (t) => {
  const { store, tamper, openAgain } = await openPostgres(t)
  await tamper('ALTER SCHEMA public RENAME TO "Other.Schema"; CREATE SCHEMA public')
  await tamper('ALTER ROLE latchkey SET search_path = "Other.Schema", public')
  t.teardown(() => tamper('ALTER ROLE latchkey RESET search_path'))
  await t.rejects(store.audit(), 'a session keeps its search_path')
  const again = await openAgain()
  await t.resolves(again.change(() => Promise.resolve()))
  await t.resolves(again.audit())
})

void t.test('an index that is replaced during the check is not missed', async (t) => {
  const { store, tamper } = await openPostgres(t)
  const { database } = store
  await database.snapshot(async (reader) => {
    // Every later statement of the snapshot sees the current catalogs.
    await reader.query('SELECT 1')
    await tamper('DROP INDEX switches_changed; ALTER TABLE external_keys RENAME TO renamed')
    await tamper('ALTER TABLE renamed RENAME TO external_keys')
    await tamper('CREATE INDEX switches_changed ON switches (changed_epoch)')
    await t.resolves(database.checkSchema(reader))
  })
})

void t.test('the check waits for no lock on a table that it does not read', async (t) => {
  const { store, openAgain } = await openPostgres(t)
  const { database } = store
  const names = await database.read(
    `SELECT relname::text AS name FROM pg_class
     WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'latchkey_schema'`,
  )
  const tables = names.map(({ name }) => String(name)).join(', ')
  const other = await openAgain()
  await other.database.transaction(async (transaction) => {
    await transaction.execute(`LOCK TABLE ${tables} IN ACCESS EXCLUSIVE MODE`)
    await t.resolves(database.snapshot((reader) => database.checkSchema(reader)))
  })
})

void t.test('operators and functions of another schema in search_path do not run', async (t) => {
  const { clock, tamper, openAgain } = await openPostgres(t)
  // The default search_path is "$user", public.
  await tamper('ALTER SCHEMA public RENAME TO latchkey; CREATE SCHEMA public')
  await tamper(plant('public'))
  const store = await openAgain()
  await t.resolves(store.audit())
  await t.resolves(loadStatus(store, 1))
  t.ok((await kill(store, clock, ORDER)).switch)
})

void t.test(
  "operators and types before pg_catalog in the role's search_path do not run",
  async (t) => {
    const { clock, tamper, openAgain } = await openPostgres(t)
    await tamper(`CREATE SCHEMA earlier;
    CREATE FUNCTION earlier.planted(text, text) RETURNS boolean LANGUAGE plpgsql
      AS 'BEGIN RAISE EXCEPTION ''planted''; END';
    CREATE OPERATOR earlier.= (LEFTARG = text, RIGHTARG = text, FUNCTION = earlier.planted);
    CREATE DOMAIN earlier.text AS text CHECK (earlier.planted(VALUE, VALUE));
    DO 'BEGIN EXECUTE format(''ALTER DATABASE %I SET search_path = earlier, public, pg_catalog'', current_database()); END'`)
    const store = await openAgain()
    await t.resolves(store.audit())
    t.ok((await kill(store, clock, ORDER)).switch)
  },
)

void t.test('tables of an earlier schema in search_path are not used', async (t) => {
  const { tamper, openAgain } = await openPostgres(t)
  await tamper('CREATE SCHEMA latchkey; CREATE TABLE latchkey.epochs (LIKE public.epochs)')
  const { database, change } = await openAgain()
  await t.resolves(change(() => Promise.resolve()))
  const ask = `SELECT (SELECT count(*) FROM latchkey.epochs) AS rows, inet_server_port() AS port,
    current_database()::text AS database`
  const [row = {}] = await database.read(ask)
  t.equal(row['rows'], 0)

  const place = { host: '127.0.0.1', port: Number(row['port']), database: String(row['database']) }
  const client = new pg.Client({ ...place, user: 'latchkey' })
  await client.connect()
  t.teardown(() => client.end())
  const query = async (sql: string) => (await client.query<Row>(sql)).rows
  await t.rejects(
    checkPostgresSchema({ query }),
    { code: 'STORE_TAMPERED', message: /table in another schema .*: epochs/ },
    'a session of a pooler keeps its search_path, and refuses such a table',
  )
})
