/** Records the queries that a snapshot sends although it was not told to expect them. */
// SPDX-License-Identifier: Apache-2.0
import type { Database } from '../../src/store/database.ts'
import type { Store } from '../../src/store/store.ts'

/** The queries of one snapshot that were not expected; undefined if none was announced. */
export type Unexpected = readonly string[] | undefined

/** @returns the store, and a function that returns what its snapshots since the last call sent */
export function recordUnexpected(store: Store) {
  let snapshots: Unexpected[] = []
  const database: Database = {
    ...store.database,
    nowSql: store.database.nowSql,
    async snapshot(work, expected = []) {
      const known = new Set(expected.map((one) => JSON.stringify([one.sql, one.parameters])))
      const unexpected: string[] = []
      const result = await store.database.snapshot((reader) =>
        work({
          query(sql, parameters = []) {
            if (!known.has(JSON.stringify([sql, parameters]))) unexpected.push(sql)
            return reader.query(sql, parameters)
          },
        }),
      )
      snapshots.push(known.size === 0 ? undefined : unexpected)
      return result
    },
  }
  return {
    store: { ...store, database },
    take(): readonly Unexpected[] {
      const taken = snapshots
      snapshots = []
      return taken
    },
  }
}
