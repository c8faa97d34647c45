/**
 * Tests PostgreSQL with two roles: the owner of the tables, which only `init` uses, and a serving role that cannot
 * change the schema.
 */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import pg from 'pg'
import t, { type Test } from 'tap'
import { workspace } from '../support/cli.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'

t.setTimeout(200_000)
const OWNER = 'latchkey_owner'
const SERVER = 'latchkey-serve'

const server = await startPostgres(t)
await server.query(`CREATE ROLE ${OWNER} LOGIN CREATEROLE PASSWORD 'of the owner'`)

/** Returns a workspace without a store. The owner role owns its database. */
async function prepare(t: Test, name: string, user = SERVER) {
  await server.query(`CREATE DATABASE ${name} OWNER ${OWNER}`)
  const { host, port } = server.target
  const postgres = { host, port, database: name, user, tls: { mode: 'off' } }
  const w = await workspace(t, {
    withoutStore: true,
    settings: { store: { postgres, masterKey: { file: 'master.key' }, pollInterval: '50ms' } },
  })
  await writeFile(join(w.folder, 'owner-password'), 'of the owner\n', { mode: 0o600 })
  const init = ['init', '--dir', w.folder]
  const asOwner = [...['--owner', OWNER, '--owner-password-file'], join(w.folder, 'owner-password')]
  return { w, init, asOwner }
}

async function statements(
  { target }: TestPostgres,
  { database, user }: { readonly database: string; readonly user: string },
  sqls: readonly string[],
): Promise<readonly string[]> {
  const { host, port } = target
  const client = new pg.Client({ host, port, database, user })
  await client.connect()
  const codes: string[] = []
  for (const sql of sqls) {
    codes.push(
      await client.query(sql).then(
        () => 'done',
        (error: unknown) => String((error as { readonly code?: unknown }).code),
      ),
    )
  }
  await client.end()
  return codes
}

void t.test(
  'the serving role can do everything Latchkey needs, and cannot plant anything',
  async (t) => {
    const { w, init, asOwner } = await prepare(t, 'two_roles')
    const alone = await w.run(...init)
    t.equal(alone.code, 1, 'the role does not exist yet')
    const made = await w.run(...init, ...asOwner)
    t.equal(made.code, 0, made.stderr)

    await w.json('keys', 'create', 'payroll')
    await w.json('credentials', 'create', '--output', join(w.folder, 'kms-console.json'))
    await w.json('keys', 'rotate', 'payroll')
    await w.serve()
    const killed = await w.run('kill', '--key-store', 'demo', '--reason', 'test')
    t.equal(killed.code, 0, killed.stderr)
    t.match(killed.stdout, /^revoked /m)
    t.match(await w.run('restore', '--key-store', 'demo', '--reason', 'test', '--yes'), { code: 0 })
    t.match(await w.run('status'), { code: 0 })

    const denied = [
      'CREATE TABLE mine (a int)',
      'CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$',
      'CREATE TRIGGER mine BEFORE UPDATE ON facts FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
      'CREATE RULE mine AS ON UPDATE TO facts DO INSTEAD NOTHING',
      'ALTER TABLE facts ADD COLUMN mine int',
      'ALTER TABLE facts ENABLE ROW LEVEL SECURITY',
      'CREATE POLICY mine ON facts USING (false)',
      'CREATE VIEW mine AS SELECT 1',
      'DROP TABLE facts',
      'TRUNCATE control_events',
      'UPDATE latchkey_schema SET version = 0',
      `SET ROLE ${OWNER}`,
    ]
    const codes = await statements(server, { database: 'two_roles', user: SERVER }, denied)
    t.same(
      codes,
      denied.map(() => '42501'),
    )
    const owned = await statements(server, { database: 'two_roles', user: OWNER }, [
      'CREATE TABLE later (a int)',
    ])
    t.same(owned, ['done'])
    const reaches = await statements(server, { database: 'two_roles', user: SERVER }, [
      'INSERT INTO later VALUES (1)',
    ])
    t.same(reaches, ['done'], 'tables of a later release are granted, too')
  },
)

void t.test(
  'init prints what the owner has to do, and rejects roles without a benefit',
  async (t) => {
    const { w, init, asOwner } = await prepare(t, 'again')
    t.match(await w.run(...init, ...asOwner), { code: 0 })
    const revoke = `REVOKE ALL ON ALL TABLES IN SCHEMA public FROM "${SERVER}"`
    t.same(await statements(server, { database: 'again', user: OWNER }, [revoke]), ['done'])
    const refused = await w.run('status')
    t.not(refused.code, 0)
    t.match(refused.stderr, /SQLSTATE 42501.*the role lacks a privilege/)
    t.match(refused.stderr, /hint: run latchkey init --if-absent --owner ROLE/)
    t.match(await w.run(...init, ...asOwner, '--if-absent'), { code: 0, stdout: /already existed/ })
    t.match(await w.run('status'), { code: 0 })

    const superuser = await prepare(t, 'gains_nothing', server.target.user)
    const vain = await superuser.w.run(...superuser.init, ...superuser.asOwner)
    t.not(vain.code, 0)
    t.match(vain.stderr, /STORE_UNSUITABLE|has all privileges of the owner latchkey_owner/)
    const same = await w.run(...init, '--owner', SERVER)
    t.equal(same.code, 64)
  },
)
