/** What an operator should know of a PostgreSQL server, before it matters. */
// SPDX-License-Identifier: Apache-2.0
import type { Reader } from '../database.ts'

/** From this share of the connections on, an application that opens a few more leaves none for a kill. */
const NEAR = 0.8

/** @param needed connections that all serving processes have together */
export async function findWarnings(reader: Reader, needed: number): Promise<readonly string[]> {
  const [row = {}] = await reader.query(
    `SELECT current_setting('synchronous_standby_names') AS synchronous,
       (SELECT count(*) FROM pg_stat_replication)
         + (SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical') AS standbys,
       current_setting('max_connections')::bigint
         - current_setting('superuser_reserved_connections')::bigint AS most,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS of_role`,
  )
  const warnings: string[] = []
  if (Number(row['standbys']) > 0 && row['synchronous'] === '') {
    warnings.push(
      'a standby exists and none is synchronous: a fail-over can lose a kill; set synchronous_standby_names',
    )
  }
  const ofRole = Number(row['of_role'])
  const most = ofRole < 0 ? Number(row['most']) : Math.min(Number(row['most']), ofRole)
  if (needed > most * NEAR) {
    warnings.push(
      `the serving processes need ${String(needed)} of the ${String(most)} connections that the server has: raise max_connections, or use a pooler`,
    )
  }
  return warnings
}
