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

interface Limits {
  readonly deadlineMs?: number
}

/** Twelve times the default, so that no statement is late on a busy machine. database.ts tests the limit. */
const PATIENT: Limits = { deadlineMs: 60_000 }

const server = await startPostgres(t)

export async function openSqlite(t: Test, limits = PATIENT): Promise<ControlFixture> {
  const folder = await storeFolder(t)
  const { clock, tamper } = folder
  const open = () => folder.open(limits)
  return { store: await open(), clock, openAgain: open, tamper }
}

export async function openPostgres(t: Test, limits = PATIENT): Promise<ControlFixture> {
  const path = join(t.testdir(), 'master.key')
  await createMasterKeyFile(path)
  const clock = new FakeClock()
  const { host, port, database, user } = await server.createDatabase()
  const postgres = { host, port, database, user }
  const options = { postgres, masterKey: { kind: 'file', path }, clock, ...limits } as const
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
