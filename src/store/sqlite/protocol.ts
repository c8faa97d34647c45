/** The messages between the event loop and the SQLite worker. */
// SPDX-License-Identifier: Apache-2.0
import type { Row, SqlValue, StorageErrorCode } from '../database.ts'

/** Passed to the worker at its start. */
export interface SqliteWorkerData {
  readonly path: string
  readonly busyTimeoutMs: number
}

/** `reader` sees committed states only; `writer` holds the single transaction of this process. */
export type Connection = 'reader' | 'writer'

export type Command =
  /**
   * The owner migrates the file. A heart only sends heartbeats: it has one connection, for single
   * statements.
   */
  | {
      readonly kind: 'open'
      readonly as: 'owner' | 'heart'
      /** Identifies the files that the owner has open. A heart refuses any others. */
      readonly identity?: string | undefined
    }
  | {
      readonly kind: 'query'
      readonly on: Connection
      readonly sql: string
      readonly parameters: readonly SqlValue[]
    }
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
  readonly changes?: number
  readonly identity?: string | undefined
  /** The schema that the migrations create, to compare with that of the file. */
  readonly schema?: readonly Row[]
  readonly error?: {
    readonly code: StorageErrorCode
    readonly message: string
    readonly hint?: string | undefined
  }
}
