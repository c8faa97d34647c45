/**
 * The settings of Latchkey's PostgreSQL sessions: timeouts, durable commits and the search_path. A
 * session that is shared with other clients gets them again in each transaction.
 */
// SPDX-License-Identifier: Apache-2.0
import { DURABLE_COMMIT } from './dial.ts'

/**
 * Timeouts in milliseconds. A process that is suspended inside a transaction must not block other
 * processes from writing a kill switch. The lock timeout is longer, so that one attempt outlasts a
 * suspended writer.
 */
const LIMITS = { idle_in_transaction_session_timeout: 2500, lock_timeout: 3500 } as const

/** @param deadlineMs statement timeout */
export function toSessionSettings(deadlineMs: number): Readonly<Record<string, string>> {
  const limits = { ...LIMITS, statement_timeout: Math.ceil(deadlineMs) }
  return Object.fromEntries(Object.entries(limits).map(([name, ms]) => [name, String(ms)] as const))
}

/**
 * Returns SQL that sets the limits and the search_path for one transaction.
 * @param path the search_path, as an SQL literal
 */
export function toTransactionSettings(path: string, deadlineMs: number): string {
  const set = (name: string, value: string) => `pg_catalog.set_config('${name}', ${value}, true)`
  const limits = Object.entries(toSessionSettings(deadlineMs))
  const calls = limits.map(([name, value]) => set(name, `'${value}'`))
  const own = [set('synchronous_commit', DURABLE_COMMIT), set('search_path', path)]
  return `SELECT ${[...calls, ...own].join(', ')}`
}
