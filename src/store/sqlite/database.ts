/** The control store on one host: SQLite in WAL mode with synchronous=FULL, on separate threads. */
// SPDX-License-Identifier: Apache-2.0
import {
  type Database,
  Mutex,
  type Reader,
  type Row,
  type SqlValue,
  StorageError,
  type Transaction,
} from '../database.ts'
import type { Command, Connection, ReplyMessage } from './protocol.ts'
import { checkSqliteSchema } from './schema.ts'
import { SqliteThread } from './thread.ts'

export interface SqliteOptions {
  /** An existing file; an empty one becomes a new store. */
  readonly path: string
  /** Deadline of each statement, in milliseconds. */
  readonly deadlineMs: number
}

/** Other processes hold the write lock only for single short transactions. */
const BUSY_TIMEOUT_MS = 2000

/** @throws StorageError STORE_NEWER, STORE_CORRUPT, STORE_MISSING; the file is then unchanged */
export async function openSqlite(options: SqliteOptions): Promise<Database> {
  const database = new SqliteDatabase(options)
  try {
    await database.open()
    return database
  } catch (error) {
    await database.close()
    throw error
  }
}

class SqliteDatabase implements Database {
  readonly nowSql = "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"
  readonly #options: SqliteOptions
  readonly #main: SqliteThread
  /** Created with the first heartbeat, which must not queue behind a transaction's messages. */
  #heart: Promise<SqliteThread> | undefined
  readonly #locks: Readonly<Record<Connection, Mutex>> = {
    reader: new Mutex(),
    writer: new Mutex(),
  }
  #identity: string | undefined
  #schema: readonly Row[] = []
  #isClosed = false

  constructor(options: SqliteOptions) {
    this.#options = options
    this.#main = this.#startThread()
  }

  async open(): Promise<void> {
    const { identity, schema } = await this.#send({ kind: 'open', as: 'owner' })
    this.#identity = identity
    this.#schema = schema ?? []
  }

  #send(command: Command): Promise<ReplyMessage> {
    return this.#main.send(command)
  }

  async snapshot<T>(work: (reader: Reader) => Promise<T>): Promise<T> {
    return this.#inTransaction('reader', (transaction) => work(transaction))
  }

  async transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    return this.#inTransaction('writer', work)
  }

  async epoch(): Promise<number> {
    // Waits for a running snapshot, which would show the epoch at its own start.
    const rows = await this.#locks.reader.run(() =>
      this.#query('reader', "SELECT value FROM facts WHERE name = 'epoch'", []),
    )
    return Number(rows[0]?.['value'])
  }

  async heartbeat(sql: string, parameters: readonly SqlValue[] = []): Promise<readonly Row[]> {
    if (this.#isClosed) throw new StorageError('STORE_CLOSED', 'the store is closed')
    const thread = await this.#openHeart()
    return (await thread.send({ kind: 'write', sql, parameters })).rows ?? []
  }

  async write(sql: string, parameters: readonly SqlValue[] = []): Promise<readonly Row[]> {
    // Waits for a running transaction of this process, which would otherwise include this
    // statement.
    const reply = await this.#locks.writer.run(() => this.#send({ kind: 'write', sql, parameters }))
    return reply.rows ?? []
  }

  read(sql: string, parameters: readonly SqlValue[] = []): Promise<readonly Row[]> {
    return this.#locks.writer.run(() => this.#query('writer', sql, parameters))
  }

  warnings(): Promise<readonly string[]> {
    return Promise.resolve([])
  }

  checkSchema(reader: Reader): Promise<void> {
    return checkSqliteSchema(reader, this.#schema)
  }

  async erase(): Promise<void> {
    // A snapshot of this process would keep the WAL in use.
    await this.#locks.writer.run(() => this.#locks.reader.run(() => this.#send({ kind: 'erase' })))
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await (await this.#heart?.catch(() => undefined))?.close()
    await this.#main.close()
  }

  #startThread(): SqliteThread {
    const { path, deadlineMs } = this.#options
    return new SqliteThread({ path, busyTimeoutMs: BUSY_TIMEOUT_MS }, deadlineMs)
  }

  #openHeart(): Promise<SqliteThread> {
    const open = async () => {
      const thread = this.#startThread()
      try {
        await thread.send({ kind: 'open', as: 'heart', identity: this.#identity })
        return thread
      } catch (error) {
        this.#heart = undefined
        await thread.close()
        throw error
      }
    }
    this.#heart ??= open()
    return this.#heart
  }

  async #query(
    on: Connection,
    sql: string,
    parameters: readonly SqlValue[],
  ): Promise<readonly Row[]> {
    return (await this.#send({ kind: 'query', on, sql, parameters })).rows ?? []
  }

  #inTransaction<T>(on: Connection, work: (transaction: Transaction) => Promise<T>): Promise<T> {
    return this.#locks[on].run(async () => {
      try {
        await this.#send({ kind: 'begin', on })
        const result = await work({
          query: (sql, parameters = []) => this.#query(on, sql, parameters),
          execute: async (sql, parameters = []) =>
            (await this.#send({ kind: 'execute', sql, parameters })).changes ?? 0,
        })
        await this.#send({ kind: 'commit', on })
        return result
      } catch (error) {
        // Sent after a timeout too: the worker processes it once it resumes.
        await this.#send({ kind: 'rollback', on }).catch(() => undefined)
        throw error
      }
    })
  }
}
