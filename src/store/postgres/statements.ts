/** Translates statements to PostgreSQL's dialect, and names those whose plan the server keeps. */
// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto'
import type { ExpectedQuery, SqlValue } from '../database.ts'

const cache = new Map<string, string>()
/** Statements are program constants with only a few variants each, so the cache stays small. */
const MAX_CACHED = 1000

/**
 * Converts `?` to `$1::bigint` and so on, because PostgreSQL cannot infer the type of a standalone
 * parameter. Null gets no type, since it fits any column. None of our statements contains a quoted
 * `?`.
 */
export function toPostgresSql(sql: string, parameters: readonly SqlValue[]): string {
  const casts = parameters.map(toCast)
  // The lists of such statements have many lengths, so their translations are not kept.
  if (parameters.length > MOST_PARAMETERS) return translate(sql, casts)
  const name = `${casts.join()} ${sql}`
  const known = cache.get(name)
  if (known !== undefined) return known
  const translated = translate(sql, casts)
  if (cache.size >= MAX_CACHED) cache.clear()
  cache.set(name, translated)
  return translated
}

function translate(sql: string, casts: readonly string[]): string {
  let count = 0
  return sql.replaceAll('?', () => {
    count += 1
    return `$${String(count)}${casts[count - 1] ?? ''}`
  })
}

function toCast(value: SqlValue): string {
  if (value === null) return ''
  if (typeof value === 'string') return '::text'
  if (typeof value === 'number') {
    return Number.isInteger(value) ? '::bigint' : '::double precision'
  }
  return '::bytea'
}

/**
 * Returns a statement as the driver takes it.
 * @param isNamed whether the server should keep its plan
 */
export function toDriverQuery(sql: string, parameters: readonly SqlValue[], isNamed: boolean) {
  const text = parameters.length === 0 ? sql : toPostgresSql(sql, parameters)
  const name = isNamed ? toPlanName(text, parameters) : undefined
  const values = parameters.map((one) => (one instanceof Uint8Array ? Buffer.from(one) : one))
  return { text, values, ...(name !== undefined && { name }) }
}

/** Writes a query without parameters, for a message with several statements. */
export function toLiteralSql({ sql, parameters }: ExpectedQuery): string {
  let count = 0
  return sql.replaceAll('?', () => {
    const value = parameters[count]
    count += 1
    if (!Number.isSafeInteger(value)) throw new RangeError('expected an integer parameter')
    return `'${String(value)}'::bigint`
  })
}

/** Plan names by statement. */
const names = new Map<string, string>()
/** Statements with more parameters are batches of varying length. */
const MOST_PARAMETERS = 20

/** 128 bits, so that no two statements have the same name. PostgreSQL allows 63 bytes. */
const NAME_BYTES = 16

/**
 * Returns the name under which a server keeps the plan of a translated statement; undefined if the
 * plan is not worth keeping. The name is a hash of the statement: a pooler may give a session to
 * several processes in turn, and each must mean the same statement by the same name.
 */
export function toPlanName(text: string, parameters: readonly SqlValue[]): string | undefined {
  if (parameters.length > MOST_PARAMETERS) return undefined
  let name = names.get(text)
  if (name === undefined) {
    const hash = createHash('sha256').update(text).digest().subarray(0, NAME_BYTES)
    if (names.size >= MAX_CACHED) names.clear()
    names.set(text, (name = `latchkey_${hash.toString('hex')}`))
  }
  return name
}
