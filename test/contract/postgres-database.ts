/** Runs the database contract on PostgreSQL, with any connection method. */
// SPDX-License-Identifier: Apache-2.0
import { openPostgres } from '../../src/store/postgres/database.ts'
import type { PostgresTarget } from '../../src/store/postgres/address.ts'
import { type DatabaseContract, databaseContract } from './database.ts'
import { expectedQueriesContract } from './expected-queries.ts'

/** @param createTarget returns an empty database for each test */
export function postgresContract(name: string, createTarget: () => Promise<PostgresTarget>): void {
  const contract: DatabaseContract = {
    name,
    async create(t) {
      const target = await createTarget()
      return {
        async open({ deadlineMs = 5000 } = {}) {
          const database = await openPostgres({
            loadTarget: () => Promise.resolve(target),
            deadlineMs,
          })
          t.teardown(() => database.close())
          return database
        },
      }
    },
    slowQuery: 'SELECT count(*) FROM generate_series(1, 20000000)',
  }
  databaseContract(contract)
  expectedQueriesContract(contract)
}
