/** One connection to PostgreSQL that comes back by itself: statements with a deadline, one after the other. */
// SPDX-License-Identifier: Apache-2.0
import type { ConnectionOptions } from 'node:tls'
import pg from 'pg'
import type { Secret } from '../base/secret.ts'
import { StorageError, type Row, type SqlValue } from './database.ts'
import { toStorageError } from './postgres-errors.ts'
import { toPostgresSql } from './postgres-sql.ts'

export interface PostgresTarget {
  readonly host: string
  readonly port: number
  readonly database: string
  readonly user: string
  readonly password?: Secret
  /** Absent: in the clear, which is for loopback only. */
  readonly tls?: ConnectionOptions
}

export interface PostgresResult {
  readonly rows: readonly Row[]
  readonly changes: number
}

/** What a session of ours is told when it begins, beside its time limits. */
const SETTINGS = {
  application_name: 'latchkey',
  // A process that stands still inside a transaction must not keep a kill switch from being written.
  idle_in_transaction_session_timeout: 2500,
  lock_timeout: 1000,
}
const KEEPALIVE_MS = 5000

/** int8: everything that we keep is below 2^53. */
const types: pg.CustomTypesConfig = {
  getTypeParser: (id, format) =>
    id === pg.types.builtins.INT8
      ? Number
      : (pg.types.getTypeParser(id, format) as (text: string) => unknown),
}

export class PostgresSession {
  readonly #target: PostgresTarget
  readonly #deadlineMs: number
  #connection: Connection | undefined
  #abort: ((error: StorageError) => void) | undefined
  #closed = false
  #generation = 0

  constructor(target: PostgresTarget, deadlineMs: number) {
    this.#target = target
    this.#deadlineMs = deadlineMs
  }

  /** Another number once the connection is another: what a transaction had begun is over then. */
  get generation(): number {
    return this.#generation
  }

  /**
   * After a timeout or a lost connection the next statement gets a new one, unless it belongs to a
   * transaction of an earlier one. @throws StorageError
   */
  async run(
    sql: string,
    parameters: readonly SqlValue[] = [],
    generation = this.#generation,
  ): Promise<PostgresResult> {
    if (this.#closed) throw closed()
    if (generation !== this.#generation) {
      throw new StorageError('STORE_UNREACHABLE', 'the connection to the store was lost')
    }
    const work = this.#query(sql, parameters)
    work.catch(() => undefined)
    return await new Promise<PostgresResult>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#drop(new StorageError('STORE_TIMEOUT', 'the store did not answer in time'))
      }, this.#deadlineMs)
      this.#abort = reject
      work.then(resolve, reject).finally(() => {
        clearTimeout(timer)
      })
    })
  }

  /** Forgets the connection, and whatever it was in the middle of. */
  reset(): void {
    this.#drop(new StorageError('STORE_TIMEOUT', 'the connection to the store was given up'))
  }

  close(): void {
    this.#closed = true
    this.#drop(closed())
  }

  async #query(sql: string, parameters: readonly SqlValue[]): Promise<PostgresResult> {
    const { client, ready } = (this.#connection ??= this.#connect())
    try {
      await ready
      const { rows, rowCount, command } = await client.query<Record<string, SqlValue>>({
        text: toPostgresSql(sql, parameters),
        values: parameters.map((value) =>
          value instanceof Uint8Array ? Buffer.from(value) : value,
        ),
      })
      if (sql === 'COMMIT' && command !== 'COMMIT') {
        throw new StorageError('STORE_FAILED', 'the transaction had failed, and was rolled back')
      }
      return { rows, changes: rowCount ?? 0 }
    } catch (error) {
      const known = toStorageError(error)
      if (known.code === 'STORE_UNREACHABLE') this.#drop(known, client)
      throw known
    }
  }

  #connect(): Connection {
    const { host, port, database, user, password, tls } = this.#target
    const client = new pg.Client({
      ...{ host, port, database, user, ssl: tls ?? false, types, keepAlive: true },
      ...(password === undefined ? {} : { password: password.reveal() }),
      keepAliveInitialDelayMillis: KEEPALIVE_MS,
      connectionTimeoutMillis: this.#deadlineMs,
      statement_timeout: Math.ceil(this.#deadlineMs),
      ...SETTINGS,
    })
    const lose = (error?: Error) => {
      this.#drop(toStorageError(error ?? new Error('the connection ended')), client)
    }
    client.on('error', lose)
    client.on('end', lose)
    const ready = client.connect()
    ready.catch(() => undefined)
    return { client, ready }
  }

  /** @param client unless another one has taken its place */
  #drop(error: StorageError, client = this.#connection?.client): void {
    if (client !== this.#connection?.client) return
    this.#connection = undefined
    this.#generation += 1
    // Not `end`: that would wait for a server that does not answer.
    if (client !== undefined) destroySocket(client)
    this.#abort?.(error)
  }
}

interface Connection {
  readonly client: pg.Client
  readonly ready: Promise<unknown>
}

/** pg types only the stream's public half. */
function destroySocket(client: pg.Client): void {
  const { connection } = client as unknown as {
    readonly connection?: { readonly stream?: { destroy(): void } }
  }
  connection?.stream?.destroy()
}

function closed(): StorageError {
  return new StorageError('STORE_CLOSED', 'the store is closed')
}
