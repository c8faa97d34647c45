/**
 * The control store as its table modules see it: one interface with an engine behind it. Every call
 * leaves the event loop and has a deadline.
 */
// SPDX-License-Identifier: Apache-2.0
import { type ErrorOptionsWithHint, LatchkeyError } from '../core/errors.ts'

export type StorageErrorCode =
  | 'STORE_MISSING' // there is no store at this place; `latchkey init` creates one
  | 'STORE_EXISTS' // `init` would overwrite a store
  | 'STORE_NEWER' // a later version of Latchkey wrote the store
  | 'STORE_CORRUPT' // the database itself is damaged
  | 'STORE_TAMPERED' // a row does not have the authentication code that it should
  | 'STORE_BUSY' // another process held the lock past the deadline
  | 'STORE_TIMEOUT' // the store did not answer within the deadline
  | 'STORE_UNREACHABLE' // there is no connection to the database server
  | 'STORE_UNSUITABLE' // the database cannot hold what Latchkey writes: its encoding is not UTF-8
  | 'TEXT_REFUSED' // the database cannot store a character of a text
  | 'STORE_ENGINE_MISSING' // better-sqlite3 is not installed, or was built for another Node.js
  | 'STORE_FAILED' // the engine failed in another way
  | 'STORE_CLOSED' // the store was used after close()
  | 'STORE_REPLACED' // the file was removed or replaced while it was open, or the server now holds another store
  | 'BACKUP_INVALID' // the file is not a complete backup signed by this store
  | 'CONFLICT' // a unique constraint refused the row
  | 'MASTER_KEY_WRONG' // the master key does not open this store
  | 'MASTER_KEY_UNREADABLE' // the file is missing, has the wrong size, or is readable by others

export class StorageError extends LatchkeyError<StorageErrorCode> {
  override readonly name = 'StorageError'

  constructor(code: StorageErrorCode, message: string, options: ErrorOptionsWithHint = {}) {
    super(code, message, options)
  }
}

/** A value that a column can hold. Integers stay below 2^53. */
export type SqlValue = string | number | Uint8Array | null
export type Row = Readonly<Record<string, SqlValue>>

export interface Reader {
  /** Returns the rows of a SELECT. Parameters are positional, written `?`. */
  query(sql: string, parameters?: readonly SqlValue[]): Promise<readonly Row[]>
}

export interface Transaction extends Reader {
  /**
   * Returns the number of rows that an INSERT, UPDATE or DELETE changed.
   * @throws StorageError CONFLICT
   */
  execute(sql: string, parameters?: readonly SqlValue[]): Promise<number>
}

export interface Database {
  /** Runs several SELECTs on one state of the store, whatever others commit in the meantime. */
  snapshot<T>(work: (reader: Reader) => Promise<T>): Promise<T>
  /**
   * Runs `work` in one serializable transaction and commits it durably; a rejection rolls back.
   * Transactions of one process run one after the other.
   */
  transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T>
  /**
   * Reads the epoch. Every change that running servers must notice raises it. The value is at least
   * as recent as the call.
   */
  epoch(): Promise<number>
  /**
   * Runs one writing statement in its own transaction, and resolves to the rows that it RETURNs. It
   * sees everything committed before the call. It is cheap enough to run four times a second: a
   * power failure may undo the last of these writes, though never one that a replica of another
   * engine has confirmed. It does not wait for a transaction of this process that is between two
   * statements.
   * @throws StorageError STORE_REPLACED
   */
  heartbeat(sql: string, parameters?: readonly SqlValue[]): Promise<readonly Row[]>
  /**
   * Runs one writing statement in its own transaction, and resolves to the rows that it RETURNs
   * once they are durable. It waits for transactions of this process, and holds no lock between
   * messages.
   */
  write(sql: string, parameters?: readonly SqlValue[]): Promise<readonly Row[]>
  /**
   * Runs one SELECT, which sees everything committed before the call. It waits for transactions of
   * this process but not for its snapshots.
   */
  read(sql: string, parameters?: readonly SqlValue[]): Promise<readonly Row[]>
  /**
   * Returns what an operator should know about the database server: that a failover can lose a
   * kill, or that connections run out.
   * @param processes number of serving processes
   */
  warnings(processes: number): Promise<readonly string[]>
  /**
   * @throws StorageError STORE_TAMPERED if the schema holds anything that the migrations did not
   * create
   */
  checkSchema(reader: Reader): Promise<void>
  /** SQL for the database's own wall clock, in whole milliseconds since the Unix epoch. */
  readonly nowSql: string
  /**
   * Removes deleted data of committed changes from the files. Data that another process is reading
   * is removed later.
   */
  erase(): Promise<void>
  close(): Promise<void>
}

export class Mutex {
  #last: Promise<unknown> = Promise.resolve()

  /** Runs `work` once all earlier work has settled. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work, work)
    this.#last = result.catch(() => undefined)
    return result
  }
}
