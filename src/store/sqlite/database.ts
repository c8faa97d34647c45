/** The control store on one host: SQLite in WAL mode with synchronous=FULL, on a thread of its own. */
// SPDX-License-Identifier: Apache-2.0
import { Worker } from 'node:worker_threads'
import {
  StorageError,
  type Database,
  type Reader,
  type Row,
  type SqlValue,
  type Transaction,
} from '../database.ts'
import { Mutex } from '../mutex.ts'
import type { Command, Connection, ReplyMessage, SqliteWorkerData } from './protocol.ts'

export interface SqliteOptions {
  /** An existing file; an empty one becomes a new store. */
  readonly path: string
  /** Of each statement, in milliseconds. */
  readonly deadlineMs: number
}

/** Other processes hold the write lock for single short transactions. */
const BUSY_TIMEOUT_MS = 2000

interface Pending {
  readonly resolve: (reply: ReplyMessage) => void
  readonly reject: (error: StorageError) => void
  readonly timer: NodeJS.Timeout
}

/** @throws StorageError STORE_NEWER, STORE_CORRUPT, STORE_MISSING; the file is unchanged then */
export async function openSqlite(options: SqliteOptions): Promise<Database> {
  const database = new SqliteDatabase(options)
  try {
    await database.send({ kind: 'open' })
    return database
  } catch (error) {
    await database.close()
    throw error
  }
}

class SqliteDatabase implements Database {
  readonly nowSql = "CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER)"
  readonly #worker: Worker
  readonly #deadlineMs: number
  readonly #pending = new Map<number, Pending>()
  readonly #locks: Readonly<Record<Connection, Mutex>> = {
    reader: new Mutex(),
    writer: new Mutex(),
  }
  #nextId = 0
  #dead: StorageError | undefined

  constructor(options: SqliteOptions) {
    this.#deadlineMs = options.deadlineMs
    const workerData: SqliteWorkerData = { path: options.path, busyTimeoutMs: BUSY_TIMEOUT_MS }
    // The build writes .js beside .js; from the sources it is .ts beside .ts.
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    this.#worker = new Worker(new URL(`./worker.${extension}`, import.meta.url), {
      workerData,
    })
    this.#worker.on('message', (reply: ReplyMessage) => {
      this.#settle(reply)
    })
    this.#worker.on('error', (cause) => {
      this.#fail(new StorageError('STORE_FAILED', 'the thread of the store failed', { cause }))
    })
    this.#worker.on('exit', () => {
      this.#fail(new StorageError('STORE_CLOSED', 'the store is closed'))
    })
    this.#worker.unref()
  }

  send(command: Command): Promise<ReplyMessage> {
    if (this.#dead !== undefined) return Promise.reject(this.#dead)
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id)
        reject(new StorageError('STORE_TIMEOUT', 'the store did not answer in time'))
      }, this.#deadlineMs)
      this.#pending.set(id, { resolve, reject, timer })
      this.#worker.postMessage({ id, command })
    })
  }

  async snapshot<T>(work: (reader: Reader) => Promise<T>): Promise<T> {
    return this.#inTransaction('reader', (transaction) => work(transaction))
  }

  async transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    return this.#inTransaction('writer', work)
  }

  async epoch(): Promise<number> {
    // Not within a snapshot that has begun: that would show the epoch of its beginning.
    const rows = await this.#locks.reader.run(() =>
      this.#query('reader', "SELECT value FROM facts WHERE name = 'epoch'", []),
    )
    return Number(rows[0]?.['value'])
  }

  async heartbeat(sql: string, parameters: readonly SqlValue[] = []): Promise<readonly Row[]> {
    // Not within a transaction of our own that has begun: the thread would wait for itself.
    const reply = await this.#locks.writer.run(() => this.send({ kind: 'beat', sql, parameters }))
    return reply.rows ?? []
  }

  async erase(): Promise<void> {
    // A snapshot of our own would keep the log in use.
    await this.#locks.writer.run(() => this.#locks.reader.run(() => this.send({ kind: 'erase' })))
  }

  async close(): Promise<void> {
    if (this.#dead === undefined) await this.send({ kind: 'close' }).catch(() => undefined)
    await this.#worker.terminate()
  }

  async #query(
    on: Connection,
    sql: string,
    parameters: readonly SqlValue[],
  ): Promise<readonly Row[]> {
    return (await this.send({ kind: 'query', on, sql, parameters })).rows ?? []
  }

  #inTransaction<T>(on: Connection, work: (transaction: Transaction) => Promise<T>): Promise<T> {
    return this.#locks[on].run(async () => {
      try {
        await this.send({ kind: 'begin', on })
        const result = await work({
          query: (sql, parameters = []) => this.#query(on, sql, parameters),
          execute: async (sql, parameters = []) =>
            (await this.send({ kind: 'execute', sql, parameters })).changes ?? 0,
        })
        await this.send({ kind: 'commit', on })
        return result
      } catch (error) {
        // Also after a timeout: the worker comes to it when it comes back.
        await this.send({ kind: 'rollback', on }).catch(() => undefined)
        throw error
      }
    })
  }

  #settle(reply: ReplyMessage): void {
    const pending = this.#pending.get(reply.id)
    if (pending === undefined) return
    this.#pending.delete(reply.id)
    clearTimeout(pending.timer)
    if (reply.error === undefined) pending.resolve(reply)
    else {
      const { code, message, hint } = reply.error
      pending.reject(new StorageError(code, message, hint === undefined ? {} : { hint }))
    }
  }

  #fail(error: StorageError): void {
    this.#dead ??= error
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer)
      reject(error)
    }
    this.#pending.clear()
  }
}
