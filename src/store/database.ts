/**
 * The interface to the control store's database, implemented by each engine. No call blocks the
 * event loop, and every call has a deadline.
 */
// SPDX-License-Identifier: Apache-2.0
import { type ErrorOptionsWithHint, LatchkeyError } from '../core/errors.ts'

export type StorageErrorCode =
  | 'STORE_MISSING' // no store exists at this location; `latchkey init` creates one
  | 'STORE_EXISTS' // `init` would overwrite a store
  | 'STORE_NEWER' // a later Latchkey version wrote the store
  | 'STORE_CORRUPT' // the database itself is damaged
  | 'STORE_TAMPERED' // a row's authentication code is missing or wrong
  | 'STORE_BUSY' // another process held the lock beyond the deadline
  | 'STORE_TIMEOUT' // the store did not respond before the deadline
  | 'STORE_UNREACHABLE' // the database server cannot be reached
  | 'STORE_UNSUITABLE' // the database encoding is not UTF-8, so it cannot hold everything that Latchkey writes
  | 'TEXT_REFUSED' // the database cannot store a character in a text value
  | 'STORE_ENGINE_MISSING' // better-sqlite3 is not installed, or was built for another Node.js version
  | 'STORE_FAILED' // the database engine failed for another reason
  | 'STORE_CLOSED' // the store was used after close()
  | 'STORE_REPLACED' // the file was removed or replaced while it was open, or the server now holds another store
  | 'BACKUP_INVALID' // the file is not a complete backup signed by this store
  | 'CONFLICT' // a unique constraint rejected the row
  | 'MASTER_KEY_WRONG' // the master key does not open this store
  | 'MASTER_KEY_UNREADABLE' // the file is missing, has the wrong size, or is readable by others

export class StorageError extends LatchkeyError<StorageErrorCode> {
  override readonly name = 'StorageError'

  constructor(code: StorageErrorCode, message: string, options: ErrorOptionsWithHint = {}) {
    super(code, message, options)
  }
}

export function isTampered(error: unknown): boolean {
  return error instanceof StorageError && error.code === 'STORE_TAMPERED'
}

/** Parameters of a statement, or a function that returns them when the statement is sent. */
export type SqlParameters = readonly SqlValue[] | (() => readonly SqlValue[])

export function valuesOf(parameters: SqlParameters): readonly SqlValue[] {
  return typeof parameters === 'function' ? parameters() : parameters
}

/** A value that a column can hold. Integers stay below 2^53. */
export type SqlValue = string | number | Uint8Array | null
export type Row = Readonly<Record<string, SqlValue>>

export interface Reader {
  /** Returns the rows of a SELECT. Parameters are positional, written as `?`. */
  query(sql: string, parameters?: readonly SqlValue[]): Promise<readonly Row[]>
  /**
   * Number of rows that one query of a large table should fetch (default: as many as can be
   * verified in one event-loop turn).
   */
  readonly pageRows?: number
}

export interface Transaction extends Reader {
  /**
   * Returns the number of rows that an INSERT, UPDATE or DELETE changed.
   * @throws StorageError CONFLICT
   */
  execute(sql: string, parameters?: readonly SqlValue[]): Promise<number>
}

/** A SELECT whose parameters are integers. */
export interface ExpectedQuery {
  readonly sql: string
  readonly parameters: readonly number[]
}

export interface Database {
  /**
   * Runs several SELECTs on one snapshot, regardless of concurrent commits.
   * @param expected the queries that `work` will probably send. A server can answer them in a single
   * message. If `work` sends another query, it is repeated in a new snapshot.
   */
  snapshot<T>(work: (reader: Reader) => Promise<T>, expected?: readonly ExpectedQuery[]): Promise<T>
  /**
   * Runs `work` in one serializable transaction and commits it durably; a rejection rolls it back.
   * Transactions from the same process run one at a time.
   */
  transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T>
  /**
   * Reads the epoch, which increases with every change that running servers must notice. The value
   * reflects every change committed before the call.
   */
  epoch(): Promise<number>
  /**
   * Runs one write statement in its own transaction and resolves to its RETURNING rows. The
   * statement sees everything committed before the call. It is cheap enough to run four times a
   * second, but a power failure can lose the most recent such writes unless a replica has confirmed
   * them. It does not wait for another transaction of this process that is idle between statements.
   * @throws StorageError STORE_REPLACED
   */
  heartbeat(sql: string, parameters?: readonly SqlValue[]): Promise<readonly Row[]>
  /**
   * Runs one write statement in its own transaction and resolves to its RETURNING rows once they
   * are durable. It waits for this process's transactions and, being a single statement, holds no
   * lock between messages.
   * @param parameters a function if they contain a MAC, because the store's key may change during
   * the wait
   */
  write(sql: string, parameters?: SqlParameters): Promise<readonly Row[]>
  /**
   * Runs one SELECT, which sees everything committed before the call. It waits for this process's
   * transactions but not for its snapshots.
   */
  read(sql: string, parameters?: readonly SqlValue[]): Promise<readonly Row[]>
  /**
   * Returns warnings about the database server, for example that a failover can lose a kill or that
   * connections are running out.
   * @param processes number of serving processes
   */
  warnings(processes: number): Promise<readonly string[]>
  /**
   * @throws StorageError STORE_TAMPERED if the schema contains anything that the migrations did not
   * create
   */
  checkSchema(reader: Reader): Promise<void>
  /** SQL for the database's own wall clock, in whole milliseconds since the Unix epoch. */
  readonly nowSql: string
  /**
   * Purges the files of data that committed changes have deleted. Data that another process is
   * still reading is purged later.
   */
  erase(): Promise<void>
  close(): Promise<void>
}

export class Mutex {
  #last: Promise<unknown> = Promise.resolve()

  /** Runs `work` after all earlier work has settled. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work, work)
    this.#last = result.catch(() => undefined)
    return result
  }
}
