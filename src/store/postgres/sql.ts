/** Statements of the two engines are written alike; this turns their form into PostgreSQL's. */
// SPDX-License-Identifier: Apache-2.0
import type { SqlValue } from '../database.ts'

const cache = new Map<string, string>()
/** Statements are constants of this program, in a few forms each. */
const MAX_CACHED = 1000

/**
 * `?` becomes `$1::bigint` and so on: PostgreSQL has to know the type of a parameter that stands alone.
 * Null goes without a type, since it fits any column. None of our statements has a `?` in quotes.
 */
export function toPostgresSql(sql: string, parameters: readonly SqlValue[]): string {
  const casts = parameters.map(toCast)
  const name = `${casts.join()} ${sql}`
  const known = cache.get(name)
  if (known !== undefined) return known
  let count = 0
  const translated = sql.replaceAll('?', () => {
    count += 1
    return `$${String(count)}${casts[count - 1] ?? ''}`
  })
  if (cache.size >= MAX_CACHED) cache.clear()
  cache.set(name, translated)
  return translated
}

function toCast(value: SqlValue): string {
  if (value === null) return ''
  if (typeof value === 'string') return '::text'
  if (typeof value === 'number') {
    return Number.isInteger(value) ? '::bigint' : '::double precision'
  }
  return '::bytea'
}
