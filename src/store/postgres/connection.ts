/** A connection to PostgreSQL for one kind of work, which it runs sequentially. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import {
  Mutex,
  type Row,
  type SqlParameters,
  type SqlValue,
  type Transaction,
} from '../database.ts'
import type { PostgresSession } from './session.ts'

/**
 * Page size. One query costs the server as much as reading several hundred rows, and the driver
 * parses rows as they arrive.
 */
const PAGE_ROWS = 500

export class Connection {
  readonly #session: PostgresSession
  readonly #lock = new Mutex()

  constructor(session: PostgresSession) {
    this.#session = session
  }

  single(sql: string, parameters: SqlParameters, isRepeated = false): Promise<readonly Row[]> {
    return this.#lock.run(
      async () => (await this.#session.runAlone(sql, parameters, isRepeated)).rows,
    )
  }

  /**
   * Runs a read-only transaction in one message.
   * @returns the rows of each statement
   */
  readAll(begin: string, statements: readonly string[]): Promise<readonly (readonly Row[])[]> {
    const session = this.#session
    return this.#lock.run(() => repeatIfLost(session, () => session.runScript(begin, statements)))
  }

  transaction<T>(
    begin: readonly string[],
    work: (transaction: Transaction) => Promise<T>,
  ): Promise<T> {
    const session = this.#session
    return this.#lock.run(async () => {
      const [first = '', ...others] = begin
      await repeatIfLost(session, () => session.run(first))
      try {
        const { generation } = session
        const run = (sql: string, parameters: readonly SqlValue[] = []) =>
          session.run(sql, parameters, generation)
        const settings = session.transactionSettings
        for (const sql of settings === undefined ? others : [settings, ...others]) await run(sql)
        const result = await work({
          query: async (sql, parameters) => (await run(sql, parameters)).rows,
          execute: async (sql, parameters) => (await run(sql, parameters)).changes,
          pageRows: PAGE_ROWS,
        })
        await run('COMMIT')
        return result
      } catch (error) {
        // If the connection is lost, its transaction is lost too, so there is nothing to roll back.
        if (session.isReady) {
          await session.run('ROLLBACK').catch(() => {
            session.reset()
          })
        }
        throw error
      }
    })
  }

  close(): void {
    this.#session.close()
  }
}

/** With less time left, in milliseconds, a new connection is unlikely to be ready in time. */
const LEAST_LEFT_MS = 100

/**
 * Runs `send`, and once more if it turns out that the connection was lost, because the server may
 * have closed an idle one. Both attempts share one deadline.
 * @param send sends one message, which may arrive twice
 */
async function repeatIfLost<T>(session: PostgresSession, send: () => Promise<T>): Promise<T> {
  if (!session.isReady) return await send()
  session.endsAt = systemClock.monotonic() + session.deadlineMs
  try {
    return await send().catch((error: unknown) => {
      const leftMs = session.endsAt - systemClock.monotonic()
      if (session.isReady || leftMs < LEAST_LEFT_MS) throw error
      return send()
    })
  } finally {
    session.endsAt = Infinity
  }
}
