/** Messages between the event loop and the SQLite worker. */
// SPDX-License-Identifier: Apache-2.0
import type { Row, SqlValue, StorageErrorCode } from '../database.ts'

/** `reader` sees only committed state; `writer` runs this process's only transaction. */
export type Connection = 'reader' | 'writer'

export type Command =
  /**
   * An `owner` thread migrates the file. A `heart` thread only writes heartbeats: it has one
   * connection and runs only single statements.
   */
  | {
      readonly kind: 'open'
      readonly path: string
      readonly busyTimeoutMs: number
      readonly as: 'owner' | 'heart'
      /**
       * Identifies the files that the owner has open. The heartbeat thread refuses to open any other
       * files.
       */
      readonly identity?: string | undefined
    }
  | {
      readonly kind: 'query'
      readonly on: Connection
      readonly sql: string
      readonly parameters: readonly SqlValue[]
      /**
       * Maximum number of rows in a reply (default: no maximum). If there are more, the reply has a
       * `cursor`.
       */
      readonly maxRows?: number
    }
  /** Returns the next rows of a query, whose transaction has not ended. */
  | { readonly kind: 'more'; readonly cursor: number; readonly maxRows: number }
  | { readonly kind: 'write'; readonly sql: string; readonly parameters: readonly SqlValue[] }
  | { readonly kind: 'execute'; readonly sql: string; readonly parameters: readonly SqlValue[] }
  | { readonly kind: 'begin' | 'commit' | 'rollback'; readonly on: Connection }
  | { readonly kind: 'erase' | 'close' }

export interface CommandMessage {
  readonly id: number
  readonly command: Command
}

export interface ReplyMessage {
  readonly id: number
  readonly rows?: readonly Row[]
  /** Result of a query. Arrays are cheaper to pass between threads than objects. */
  readonly table?: {
    readonly columns: readonly string[]
    readonly values: readonly (readonly SqlValue[])[]
  }
  /** Identifies the rest of the rows; absent if there are no more. */
  readonly cursor?: number
  readonly changes?: number
  readonly identity?: string | undefined
  /** The schema that the migrations create, for comparison with the file's schema. */
  readonly schema?: readonly Row[]
  readonly error?: {
    readonly code: StorageErrorCode
    readonly message: string
    readonly hint?: string | undefined
  }
}
