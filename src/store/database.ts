/**
 * The control store as its table modules see it. One interface, and an engine behind it; every call
 * leaves the event loop and has a deadline.
 */
// SPDX-License-Identifier: Apache-2.0
import { type ErrorOptionsWithHint, LatchkeyError } from '../core/errors.ts'

export type StorageErrorCode =
  | 'STORE_MISSING' // no store at this place: `latchkey init` makes one
  | 'STORE_EXISTS' // init would overwrite a store
  | 'STORE_NEWER' // written by a later version of Latchkey
  | 'STORE_CORRUPT' // the database itself is damaged
  | 'STORE_TAMPERED' // a row does not carry the authentication code it should
  | 'STORE_BUSY' // locked by another process past the deadline
  | 'STORE_TIMEOUT' // no answer within the deadline
  | 'STORE_UNREACHABLE' // no connection to the database server
  | 'STORE_UNSUITABLE' // a database that cannot keep what Latchkey writes: not in UTF-8
  | 'TEXT_REFUSED' // the database cannot keep a character of a text
  | 'STORE_ENGINE_MISSING' // better-sqlite3 is not installed, or was built for another Node.js
  | 'STORE_FAILED' // any other failure of the engine
  | 'STORE_CLOSED' // used after close()
  | 'STORE_REPLACED' // its file was removed or replaced while it was open, or another store answers
  | 'CONFLICT' // a unique constraint refused the row
  | 'MASTER_KEY_WRONG' // the master key does not open this store
  | 'MASTER_KEY_UNREADABLE' // file missing, wrong size, or readable by others

export class StorageError extends LatchkeyError<StorageErrorCode> {
  override readonly name = 'StorageError'

  constructor(code: StorageErrorCode, message: string, options: ErrorOptionsWithHint = {}) {
    super(code, message, options)
  }
}

/** What a column can hold. Integers stay below 2^53. */
export type SqlValue = string | number | Uint8Array | null
export type Row = Readonly<Record<string, SqlValue>>

export interface Reader {
  /** Rows of a SELECT. Parameters are positional, written `?`. */
  query(sql: string, parameters?: readonly SqlValue[]): Promise<readonly Row[]>
}

export interface Transaction extends Reader {
  /** Number of rows that an INSERT, UPDATE or DELETE changed. @throws StorageError CONFLICT */
  execute(sql: string, parameters?: readonly SqlValue[]): Promise<number>
}

export interface Database {
  /** Several SELECTs that see one state of the store, whatever others commit meanwhile. */
  snapshot<T>(work: (reader: Reader) => Promise<T>): Promise<T>
  /**
   * Runs `work` in one serialisable transaction and commits durably; a rejection rolls back.
   * Transactions of one process run one after the other.
   */
  transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T>
  /** Raised by every change that a running server must see; of no earlier moment than the call. */
  epoch(): Promise<number>
  /**
   * One statement that writes, in a transaction of its own; resolves to what it RETURNs. It sees what
   * was committed before the call. Cheap, for what comes four times a second: a power failure may
   * take the last of these writes back, though never one that another engine's replica has confirmed.
   * Does not wait for a transaction of this process that is between two of its statements.
   * @throws StorageError STORE_REPLACED
   */
  heartbeat(sql: string, parameters?: readonly SqlValue[]): Promise<readonly Row[]>
  /**
   * One statement that writes, in a transaction of its own that is durable when this resolves; resolves
   * to what it RETURNs. Waits for transactions of this process, and holds no lock between messages.
   */
  write(sql: string, parameters?: readonly SqlValue[]): Promise<readonly Row[]>
  /**
   * What an operator should know of the server behind it: a kill that a fail-over can lose, connections that run out.
   * @param processes how many serve
   */
  warnings(processes: number): Promise<readonly string[]>
  /** @throws StorageError STORE_TAMPERED where anything is in the schema that the migrations did not make */
  checkSchema(reader: Reader): Promise<void>
  /** SQL for the database's own wall clock, in whole milliseconds since the Unix epoch. */
  readonly nowSql: string
  /**
   * Leaves nothing in the files of what committed changes have removed. What another process is
   * reading at this moment goes later.
   */
  erase(): Promise<void>
  close(): Promise<void>
}

export class Mutex {
  #last: Promise<unknown> = Promise.resolve()

  /** Runs `work` when everything that was asked for before has settled. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#last.then(work, work)
    this.#last = result.catch(() => undefined)
    return result
  }
}
