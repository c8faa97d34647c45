/** Adds counts to stored rows in one statement. */
// SPDX-License-Identifier: Apache-2.0
import type { Database, Row } from '../store/database.ts'

/** Specifies how a column is merged with the stored value; columns not listed stay unchanged. */
export type MergeRule = 'sum' | 'least' | 'most'

/** Writes rows in primary key order, so that concurrent writers in a fleet cannot deadlock. */
export async function upsert(
  database: Database,
  table: string,
  key: readonly string[],
  rows: ReadonlyMap<string, Row>,
  rules: Readonly<Record<string, MergeRule>>,
): Promise<void> {
  const sorted = [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row)
  const changes = Object.entries(rules).map(
    ([name, rule]) => `${name} = ${merged(table, name, rule)}`,
  )
  const names = Object.keys(sorted[0] ?? {})
  if (names.length === 0) return
  const marks = `(${names.map(() => '?').join(', ')})`
  await database.heartbeat(
    `INSERT INTO ${table} (${names.join(', ')}) VALUES ${sorted.map(() => marks).join(', ')}
     ON CONFLICT (${key.join(', ')}) DO UPDATE SET ${changes.join(', ')}
     RETURNING 1 AS written`,
    sorted.flatMap((row) => names.map((name) => row[name] ?? null)),
  )
}

function merged(table: string, name: string, rule: MergeRule): string {
  const [before, after] = [`${table}.${name}`, `excluded.${name}`]
  if (rule === 'sum') return `${before} + ${after}`
  const takes = rule === 'least' ? `${after} < ${before}` : `${after} > ${before}`
  return `CASE WHEN ${takes} THEN ${after} ELSE ${before} END`
}
