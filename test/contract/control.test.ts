/** The kill switch on both engines of the control store. */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import pg from 'pg'
import t, { type Test } from 'tap'
import { createMasterKeyFile } from '../../src/store/master-key.ts'
import { createStore } from '../../src/store/store.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { startPostgres } from '../support/postgres.ts'
import { storeFolder } from '../support/store.ts'
import { killContract } from './control-kill.ts'
import { restoreContract } from './control-restore.ts'

t.setTimeout(120_000)
const server = await startPostgres(t)

async function openSqlite(t: Test) {
  const folder = await storeFolder(t)
  const { clock, tamper } = folder
  return { store: await folder.open(), clock, tamper }
}

async function openPostgres(t: Test) {
  const path = join(t.testdir(), 'master.key')
  await createMasterKeyFile(path)
  const clock = new FakeClock()
  const { host, port, database, user } = await server.createDatabase()
  const postgres = { host, port, database, user }
  const store = await createStore({ postgres, masterKey: { kind: 'file', path }, clock })
  t.teardown(() => store.close())
  return {
    ...{ store, clock },
    async tamper(sql: string) {
      const client = new pg.Client(postgres)
      await client.connect()
      await client.query(sql)
      await client.end()
    },
  }
}

for (const contract of [killContract, restoreContract]) {
  contract({ name: 'SQLite', open: openSqlite })
  contract({ name: 'PostgreSQL', open: openPostgres })
}
