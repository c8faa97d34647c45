/** Runs the database contract on PostgreSQL behind PgBouncer in transaction pooling mode. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { startPgbouncer } from '../support/pgbouncer.ts'
import { startPostgres } from '../support/postgres.ts'
import { KILLED, KEY_ID, startTestServer } from '../support/server.ts'
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
