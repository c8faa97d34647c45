/** The control store on a single host: SQLite in WAL mode with synchronous=FULL, accessed from separate threads. */
// SPDX-License-Identifier: Apache-2.0
import {
  type Database,
  Mutex,
  type Reader,
  type Row,
  type SqlParameters,
  type SqlValue,
  StorageError,
  type Transaction,
  valuesOf,
} from '../database.ts'
import type { Command, Connection, ReplyMessage } from './protocol.ts'
import { checkSqliteSchema } from './schema.ts'
import { SqliteThread } from './thread.ts'

export interface SqliteOptions {
  /** Path of an existing file; an empty file becomes a new store. */
  readonly path: string
  /** Statement timeout, in milliseconds. */
  readonly deadlineMs: number
  /** True if a command uses the store. Nothing else then needs the event loop. */
  readonly isCommand?: boolean
}

/**
 * Maximum time to wait for the write lock, in milliseconds. Other processes hold the lock for only
 * one short transaction at a time.
 */
const BUSY_TIMEOUT_MS = 2000
/**
 * Number of rows in a page. Reading a page takes two messages between threads, and copying its rows
 * blocks the event loop for well under two milliseconds.
 */
const PAGE_ROWS = 300
/** Page size for a command, which has no requests to serve meanwhile. */
const COMMAND_PAGE_ROWS = 2000
/**
 * Maximum number of rows that a server takes from the thread in one turn of the event loop. Only
 * queries of tables that are not read page by page have more.
 */
const MAX_REPLY_ROWS = 500

/** @throws StorageError STORE_NEWER, STORE_CORRUPT, STORE_MISSING; the file is left unchanged */
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
  /**
   * Thread that writes heartbeats, started by the first heartbeat. A heartbeat must not queue
   * behind a transaction's messages.
   */
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
    const { identity, schema } = await this.#main.send(this.#openCommand('owner'))
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
    // Waits for any running snapshot to end. Within a snapshot, the query would return the epoch as
    // of the snapshot's start.
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

  async write(sql: string, parameters: SqlParameters = []): Promise<readonly Row[]> {
    // Waits for any running transaction of this process, which would otherwise include this
    // statement.
    const reply = await this.#locks.writer.run(() =>
      this.#send({ kind: 'write', sql, parameters: valuesOf(parameters) }),
    )
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
    // An open snapshot in this process would keep the WAL in use.
    await this.#locks.writer.run(() => this.#locks.reader.run(() => this.#send({ kind: 'erase' })))
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await (await this.#heart?.catch(() => undefined))?.close()
    await this.#main.close()
  }

  #startThread(): SqliteThread {
    return new SqliteThread(this.#options.deadlineMs)
  }

  #openCommand(as: 'owner' | 'heart'): Command {
    const { path } = this.#options
    return { kind: 'open', path, busyTimeoutMs: BUSY_TIMEOUT_MS, as, identity: this.#identity }
  }

  #openHeart(): Promise<SqliteThread> {
    const open = async () => {
      const thread = this.#startThread()
      try {
        await thread.send(this.#openCommand('heart'))
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
    const maxRows = this.#options.isCommand === true ? Infinity : MAX_REPLY_ROWS
    let reply = await this.#send({ kind: 'query', on, sql, parameters, maxRows })
    const columns = reply.table?.columns ?? []
    const rows: Row[] = []
    for (;;) {
      for (const row of reply.table?.values ?? []) {
        const made: Record<string, SqlValue> = {}
        for (const [i, name] of columns.entries()) made[name] = row[i] ?? null
        rows.push(made)
      }
      const { cursor } = reply
      if (cursor === undefined) return rows
      reply = await this.#send({ kind: 'more', cursor, maxRows })
    }
  }

  #inTransaction<T>(on: Connection, work: (transaction: Transaction) => Promise<T>): Promise<T> {
    return this.#locks[on].run(async () => {
      try {
        await this.#send({ kind: 'begin', on })
        const result = await work({
          query: (sql, parameters = []) => this.#query(on, sql, parameters),
          execute: async (sql, parameters = []) =>
            (await this.#send({ kind: 'execute', sql, parameters })).changes ?? 0,
          pageRows: this.#options.isCommand === true ? COMMAND_PAGE_ROWS : PAGE_ROWS,
        })
        await this.#send({ kind: 'commit', on })
        return result
      } catch (error) {
        // Sends the rollback even after a timeout, because the worker handles the message once it
        // resumes.
        await this.#send({ kind: 'rollback', on }).catch(() => undefined)
        throw error
      }
    })
  }
}
