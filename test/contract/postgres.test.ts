/** PostgreSQL keeps the contract of a database. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { openPostgres } from '../../src/storage/postgres.ts'
import { startPostgres } from '../support/postgres.ts'
import { databaseContract } from './database.ts'

t.setTimeout(300_000)
const server = await startPostgres(t)

databaseContract({
  name: 'PostgreSQL',
  async create(t) {
    const target = await server.createDatabase()
    return {
      async open({ deadlineMs = 5000 } = {}) {
        const database = await openPostgres({ target, deadlineMs })
        t.teardown(() => database.close())
        return database
      },
    }
  },
  slowQuery: 'SELECT count(*) FROM generate_series(1, 20000000)',
})
