/** Tests that work on a PostgreSQL server that has fallen silent takes one deadline, and not one for each attempt. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { type Database, type Reader, StorageError } from '../../src/store/database.ts'
import { openPostgres } from '../../src/store/postgres/database.ts'
import { startPostgres } from '../support/postgres.ts'
import { eventually } from '../support/server.ts'
import { swallowingProxy } from '../support/swallowing-proxy.ts'

t.setTimeout(180_000)
const server = await startPostgres(t)

/** Long enough that a busy machine does not delay an answer by as much. */
const DEADLINE_MS = 4000
const QUERY = { sql: 'SELECT name FROM facts ORDER BY name', parameters: [] }
const read = (reader: Reader) => reader.query(QUERY.sql, QUERY.parameters)

const WORK: Readonly<Record<string, (database: Database) => Promise<unknown>>> = {
  'an announced read': (database) => database.snapshot(read, [QUERY]),
  'a snapshot': (database) => database.snapshot(read),
  'a transaction': (database) => database.transaction(read),
  'a single read': (database) => database.read(QUERY.sql),
}

/** Reports whether the work succeeds; on a busy machine, it can take longer than the deadline. */
function works(work: (database: Database) => Promise<unknown>, database: Database) {
  return work(database).then(
    () => true,
    (error: unknown) => {
      if (error instanceof StorageError && error.code === 'STORE_TIMEOUT') return false
      throw error
    },
  )
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
    await eventually(() => works(work, database))
    proxy.swallow(true)
    for (const state of ['connected', 'without a connection']) {
      const at = performance.now()
      await t.rejects(work(database), { name: 'StorageError' }, state)
      const ms = performance.now() - at
      t.ok(ms < 1.9 * DEADLINE_MS, `${state}: ${ms.toFixed(0)} ms`)
    }
    proxy.swallow(false)
    await eventually(() => works(work, database))
  })
}
