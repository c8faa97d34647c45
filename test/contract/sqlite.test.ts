/** Runs the database contract on SQLite. */
// SPDX-License-Identifier: Apache-2.0
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { openSqlite } from '../../src/store/sqlite/database.ts'
import { type DatabaseContract, databaseContract } from './database.ts'
import { expectedQueriesContract } from './expected-queries.ts'

const contract: DatabaseContract = {
  name: 'SQLite',
  async create(t) {
    const path = join(t.testdir(), 'store.db')
    await writeFile(path, '', { mode: 0o600 })
    return {
      async open({ deadlineMs = 5000 } = {}) {
        const database = await openSqlite({ path, deadlineMs })
        t.teardown(() => database.close())
        return database
      },
    }
  },
  slowQuery: `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000000)
    SELECT count(*) FROM n`,
}

databaseContract(contract)
expectedQueriesContract(contract)
