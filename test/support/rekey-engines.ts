/** A workspace with a store on each engine, whose tables a test can change without Latchkey. */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import Sqlite from 'better-sqlite3'
import pg from 'pg'
import type { Test } from 'tap'
import { type Workspace, workspace } from './cli.ts'
import type { TestPostgres } from './postgres.ts'

export interface RekeyEngine {
  readonly place: Workspace
  /** Runs SQL as the owner of the tables, without Latchkey. */
  sql(statement: string, values?: readonly unknown[]): Promise<readonly Record<string, unknown>[]>
}

/** Returns, for each engine, a function that creates a workspace with a store on it. */
export function rekeyEngines(
  server: TestPostgres,
): Readonly<Record<string, (t: Test) => Promise<RekeyEngine>>> {
  return {
    async SQLite(t) {
      const place = await workspace(t)
      return {
        place,
        sql(statement, values = []) {
          const database = new Sqlite(join(place.folder, 'latchkey.db'))
          try {
            const prepared = database.prepare(statement.replaceAll(/\$\d/g, '?'))
            if (prepared.reader) return Promise.resolve(prepared.all(...values) as [])
            prepared.run(...values)
            return Promise.resolve([])
          } finally {
            database.close()
          }
        },
      }
    },
    async PostgreSQL(t) {
      const { host, port, database, user } = await server.createDatabase()
      const postgres = { host, port, database, user, tls: { mode: 'off' } }
      const settings = {
        store: { postgres, masterKey: { file: 'master.key' }, pollInterval: '50ms' },
      }
      const place = await workspace(t, { settings })
      return {
        place,
        async sql(statement, values = []) {
          const client = new pg.Client({ host, port, database, user })
          await client.connect()
          const { rows } = await client.query(statement, [...values])
          await client.end()
          return rows as Record<string, unknown>[]
        },
      }
    },
  }
}
