/**
 * Provides both engines for the kill switch contracts. Each call opens a new store that other programs can write to.
 */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import pg from 'pg'
import t, { type Test } from 'tap'
import { createMasterKeyFile } from '../../src/store/master-key.ts'
import { createStore, openStore } from '../../src/store/store.ts'
import { FakeClock } from '../support/fake-clock.ts'
import { startPostgres } from '../support/postgres.ts'
import { storeFolder } from '../support/store.ts'
import type { ControlFixture } from './control-fixture.ts'

const server = await startPostgres(t)

export async function openSqlite(t: Test): Promise<ControlFixture> {
  const folder = await storeFolder(t)
  const { clock, tamper } = folder
  return { store: await folder.open(), clock, openAgain: () => folder.open(), tamper }
}

export async function openPostgres(t: Test): Promise<ControlFixture> {
  const path = join(t.testdir(), 'master.key')
  await createMasterKeyFile(path)
  const clock = new FakeClock()
  const { host, port, database, user } = await server.createDatabase()
  const postgres = { host, port, database, user }
  const options = { postgres, masterKey: { kind: 'file', path }, clock } as const
  const store = await createStore(options)
  t.teardown(() => store.close())
  return {
    ...{ store, clock },
    async openAgain() {
      const again = await openStore(options)
      t.teardown(() => again.close())
      return again
    },
    async tamper(sql: string) {
      const client = new pg.Client(postgres)
      await client.connect()
      await client.query(sql)
      await client.end()
    },
  }
}
