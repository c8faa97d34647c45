/** The control store of a fleet: PostgreSQL, or any server that speaks its protocol and its SQL. */
// SPDX-License-Identifier: Apache-2.0
import {
  StorageError,
  type Database,
  type Reader,
  type Row,
  type SqlValue,
  type Transaction,
} from '../database.ts'
import { MIGRATIONS } from '../migrations/migrations.ts'
import { Mutex } from '../mutex.ts'
import { PostgresSession, type PostgresTarget } from './session.ts'

export interface PostgresOptions {
  readonly target: PostgresTarget
  /** Of each statement, in milliseconds. */
  readonly deadlineMs: number
}

/** "Lkey": all of our writers take this lock, so their transactions run one after the other. */
const WRITER_LOCK = 0x4c6b6579
/** A poll that takes longer than this is given up and asked again on a new connection. */
const BEAT_DEADLINE_MS = 1000

/** @throws StorageError STORE_UNREACHABLE, STORE_MISSING, STORE_NEWER */
export async function openPostgres(options: PostgresOptions): Promise<Database> {
  const database = new PostgresDatabase(options)
  try {
    await database.migrate()
    return database
  } catch (error) {
    await database.close()
    throw error
  }
}

class PostgresDatabase implements Database {
  readonly nowSql = '(extract(epoch FROM clock_timestamp()) * 1000)::bigint'
  readonly #reader: Connection
  readonly #writer: Connection
  readonly #beats: Connection
  #closed = false

  constructor({ target, deadlineMs }: PostgresOptions) {
    this.#reader = new Connection(new PostgresSession(target, deadlineMs))
    this.#writer = new Connection(new PostgresSession(target, deadlineMs))
    this.#beats = new Connection(
      new PostgresSession(target, Math.min(deadlineMs, BEAT_DEADLINE_MS)),
    )
  }

  snapshot<T>(work: (reader: Reader) => Promise<T>): Promise<T> {
    return this.#reader.transaction(['BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY'], work)
  }

  transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    // The lock makes them serial, so nothing ever has to be run a second time; each statement after
    // it sees everything that was committed before it.
    const lock = `SELECT pg_advisory_xact_lock(${String(WRITER_LOCK)})`
    return this.#writer.transaction(['BEGIN ISOLATION LEVEL READ COMMITTED', lock], work)
  }

  async epoch(): Promise<number> {
    const rows = await this.heartbeat("SELECT value FROM facts WHERE name = 'epoch'")
    return Number(rows[0]?.['value'])
  }

  heartbeat(sql: string, parameters: readonly SqlValue[] = []): Promise<readonly Row[]> {
    return this.#beats.single(sql, parameters)
  }

  write(sql: string, parameters: readonly SqlValue[] = []): Promise<readonly Row[]> {
    return this.#writer.single(sql, parameters)
  }

  /** Nothing that a client can ask for removes old row versions from pages, WAL and replicas. */
  erase(): Promise<void> {
    return this.#closed
      ? Promise.reject(new StorageError('STORE_CLOSED', 'the store is closed'))
      : Promise.resolve()
  }

  close(): Promise<void> {
    this.#closed = true
    for (const connection of [this.#reader, this.#writer, this.#beats]) connection.close()
    return Promise.resolve()
  }

  /** All steps that are missing, in one transaction, by whoever comes first. */
  migrate(): Promise<void> {
    return this.transaction(async (transaction) => {
      await transaction.execute(
        'CREATE TABLE IF NOT EXISTS latchkey_schema (version INTEGER NOT NULL)',
      )
      const [row] = await transaction.query('SELECT version FROM latchkey_schema')
      const version = Number(row?.['version'] ?? 0)
      if (version > MIGRATIONS.length) {
        throw new StorageError(
          'STORE_NEWER',
          `the store has schema version ${String(version)}; this release knows up to ${String(MIGRATIONS.length)}`,
          { hint: 'use the release that wrote it, or a later one' },
        )
      }
      for (const step of MIGRATIONS.slice(version)) {
        for (const sql of step) await transaction.execute(sql)
      }
      if (row === undefined) {
        await transaction.execute('INSERT INTO latchkey_schema (version) VALUES (?)', [
          MIGRATIONS.length,
        ])
      } else if (version < MIGRATIONS.length) {
        await transaction.execute('UPDATE latchkey_schema SET version = ?', [MIGRATIONS.length])
      }
    })
  }
}

/** A session for one kind of work; one piece of work at a time. */
class Connection {
  readonly #session: PostgresSession
  readonly #lock = new Mutex()

  constructor(session: PostgresSession) {
    this.#session = session
  }

  single(sql: string, parameters: readonly SqlValue[]): Promise<readonly Row[]> {
    return this.#lock.run(async () => (await this.#session.run(sql, parameters)).rows)
  }

  transaction<T>(
    begin: readonly string[],
    work: (transaction: Transaction) => Promise<T>,
  ): Promise<T> {
    const session = this.#session
    return this.#lock.run(async () => {
      try {
        const [first = '', ...others] = begin
        await session.run(first)
        const { generation } = session
        const run = (sql: string, parameters: readonly SqlValue[] = []) =>
          session.run(sql, parameters, generation)
        const limits = session.transactionLimits
        for (const sql of limits === undefined ? others : [limits, ...others]) await run(sql)
        const result = await work({
          query: async (sql, parameters) => (await run(sql, parameters)).rows,
          execute: async (sql, parameters) => (await run(sql, parameters)).changes,
        })
        await run('COMMIT')
        return result
      } catch (error) {
        // A connection that is gone took its transaction with it. A new one has none.
        await session.run('ROLLBACK').catch(() => {
          session.reset()
        })
        throw error
      }
    })
  }

  close(): void {
    this.#session.close()
  }
}
