/** Tests that work on a PostgreSQL server that has fallen silent takes one deadline, and not one for each attempt. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { Database, Reader } from '../../src/store/database.ts'
import { openPostgres } from '../../src/store/postgres/database.ts'
import { startPostgres } from '../support/postgres.ts'
import { swallowingProxy } from '../support/swallowing-proxy.ts'

t.setTimeout(180_000)
const server = await startPostgres(t)

const DEADLINE_MS = 1500
const QUERY = { sql: 'SELECT name FROM facts ORDER BY name', parameters: [] }
const read = (reader: Reader) => reader.query(QUERY.sql, QUERY.parameters)

const WORK: Readonly<Record<string, (database: Database) => Promise<unknown>>> = {
  'an announced read': (database) => database.snapshot(read, [QUERY]),
  'a snapshot': (database) => database.snapshot(read),
  'a transaction': (database) => database.transaction(read),
  'a single read': (database) => database.read(QUERY.sql),
}

for (const [name, work] of Object.entries(WORK)) {
  void t.test(`${name} takes one deadline, and works again afterwards`, async (t) => {
    const target = await server.createDatabase()
    const proxy = await swallowingProxy(t)
    proxy.aim(target.port)
    const database = await openPostgres({
      loadTarget: () => Promise.resolve({ ...target, port: proxy.port }),
      deadlineMs: DEADLINE_MS,
    })
    t.teardown(() => database.close())
    await work(database)
    proxy.swallow(true)
    for (const state of ['connected', 'without a connection']) {
      const at = performance.now()
      await t.rejects(work(database), { name: 'StorageError' }, state)
      const ms = performance.now() - at
      t.ok(ms < 1.7 * DEADLINE_MS, `${state}: ${ms.toFixed(0)} ms`)
    }
    proxy.swallow(false)
    await t.resolves(work(database))
  })
}
