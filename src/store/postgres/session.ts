/**
 * A PostgreSQL connection that reconnects on its own and runs statements sequentially, each with a
 * deadline.
 */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import { type Row, type SqlParameters, type SqlValue, StorageError, valuesOf } from '../database.ts'
import type { PostgresTarget } from './address.ts'
import { destroySocket, type Dial, dial, DURABLE_COMMIT } from './dial.ts'
import { belongsToConnection, sqlState, toStorageError } from './errors.ts'
import { toPlanName, toPostgresSql } from './statements.ts'

/**
 * SQLSTATEs of a session that lacks a prepared statement, or has one that another client prepared
 * (PostgreSQL, Appendix A).
 */
const NOT_PREPARED: ReadonlySet<string> = new Set(['26000', '42P05'])

export interface PostgresResult {
  readonly rows: readonly Row[]
  readonly changes: number
}

/**
 * Timeouts in milliseconds. A process that is suspended inside a transaction must not block other
 * processes from writing a kill switch. The lock timeout is longer, so that one attempt outlasts a
 * suspended writer.
 */
const LIMITS = { idle_in_transaction_session_timeout: 2500, lock_timeout: 3500 } as const

export class PostgresSession {
  readonly #loadTarget: () => Promise<PostgresTarget>
  readonly #deadlineMs: number
  /** Called after a new connection has replaced a lost one. */
  readonly #onRedialled: () => void
  #connection: Dial | undefined
  #abort: ((error: StorageError) => void) | undefined
  #closed = false
  #generation = 0
  #wasLost = false
  #isReady = false
  /** False once a pooler has moved this session to a connection without its prepared statements. */
  #canPrepare = true
  #pooledPath: string | undefined
  /**
   * Monotonic time in milliseconds at which the current statement was sent; undefined if there is
   * none.
   */
  #busySince: number | undefined

  constructor(
    loadTarget: () => Promise<PostgresTarget>,
    deadlineMs: number,
    onRedialled: () => void = () => undefined,
  ) {
    this.#loadTarget = loadTarget
    this.#deadlineMs = deadlineMs
    this.#onRedialled = onRedialled
  }

  /** Incremented on every reconnect; a transaction from an earlier generation is gone. */
  get generation(): number {
    return this.#generation
  }

  /** Whether there is a connection that has not failed yet. */
  get isReady(): boolean {
    return this.#isReady
  }

  /**
   * SQL that sets the limits and the search_path for one transaction; undefined if the session
   * already has them.
   */
  get transactionSettings(): string | undefined {
    const path = this.#pooledPath
    if (path === undefined) return undefined
    const set = (name: string, value: string) => `pg_catalog.set_config('${name}', ${value}, true)`
    const calls = Object.entries(this.#settings()).map(([name, value]) => set(name, `'${value}'`))
    const own = [set('synchronous_commit', DURABLE_COMMIT), set('search_path', path)]
    return `SELECT ${[...calls, ...own].join(', ')}`
  }

  /**
   * Runs a statement. After a timeout or a lost connection, the next statement gets a new
   * connection, unless it belongs to a transaction that began on an earlier connection.
   * @throws StorageError
   */
  run(
    sql: string,
    parameters: SqlParameters = [],
    generation = this.#generation,
  ): Promise<PostgresResult> {
    return this.#limit(generation, () => this.#query(generation, sql, parameters))
  }

  /**
   * Runs a statement outside of any transaction. In a session that is shared with other clients,
   * the statement gets its own transaction, which sets the search_path.
   * @param isRepeated whether the statement runs so often that the server should plan it only once.
   * Such a statement must name its columns: the server rejects the plan if a release adds one.
   * @throws StorageError
   */
  runAlone(
    sql: string,
    parameters: SqlParameters = [],
    isRepeated = false,
  ): Promise<PostgresResult> {
    const generation = this.#generation
    return this.#limit(generation, async () => {
      await this.#connected()
      const settings = this.transactionSettings
      if (settings === undefined) return await this.#query(generation, sql, parameters, isRepeated)
      try {
        // A query without parameters can contain several statements, which saves a round trip.
        await this.#query(generation, `BEGIN ISOLATION LEVEL READ COMMITTED; ${settings}`)
        const result = await this.#query(generation, sql, parameters)
        await this.#query(generation, 'COMMIT')
        return result
      } catch (error) {
        if (this.#isReady && generation === this.#generation) {
          await this.#query(generation, 'ROLLBACK').catch(() => {
            this.reset()
          })
        }
        throw error
      }
    })
  }

  /** Runs `start`, which sends statements, and drops the connection after the deadline. */
  async #limit(generation: number, start: () => Promise<PostgresResult>): Promise<PostgresResult> {
    if (this.#closed) throw closed()
    this.#checkGeneration(generation)
    this.#busySince = systemClock.monotonic()
    const work = start()
    work.catch(() => undefined)
    return await new Promise<PostgresResult>((resolve, reject) => {
      // The timer is cleared as soon as the reply arrives. A timeout drops the whole connection,
      // not only the call.
      const timer = setTimeout(() => {
        this.#drop(new StorageError('STORE_TIMEOUT', 'the store did not respond in time'))
      }, this.#deadlineMs)
      this.#abort = reject
      work.then(resolve, reject).finally(() => {
        clearTimeout(timer)
        this.#busySince = undefined
      })
    })
  }

  /** Drops the connection along with any work in progress on it. */
  reset(): void {
    this.#drop(new StorageError('STORE_TIMEOUT', 'the connection to the store was closed'))
  }

  /**
   * Call when another connection to the same server was lost, because this connection may now lead
   * to a server that is no longer the primary.
   * @param patienceMs how long the current statement may have been waiting for a reply
   */
  distrust(patienceMs: number): void {
    const busyMs =
      this.#busySince === undefined ? Infinity : systemClock.monotonic() - this.#busySince
    if (busyMs > patienceMs) this.reset()
  }

  close(): void {
    this.#closed = true
    this.#drop(closed())
  }

  /** Opens a connection, if there is none. */
  async #connected(): Promise<void> {
    const connection = (this.#connection ??= this.#connect())
    try {
      await connection.ready
    } catch (error) {
      const known = toStorageError(error)
      this.#drop(known, connection)
      throw known
    }
  }

  /** @throws StorageError if a new connection has replaced that of this generation */
  #checkGeneration(generation: number): void {
    if (generation === this.#generation) return
    throw new StorageError('STORE_UNREACHABLE', 'the connection to the store was lost')
  }

  async #query(
    generation: number,
    sql: string,
    parameters: SqlParameters = [],
    isRepeated = false,
  ): Promise<PostgresResult> {
    this.#checkGeneration(generation)
    const connection = (this.#connection ??= this.#connect())
    try {
      const { client } = await connection.ready
      const values = valuesOf(parameters)
      const text = toPostgresSql(sql, values)
      const name = isRepeated && this.#canPrepare ? toPlanName(text, values) : undefined
      const { rows, rowCount, command } = await client.query<Record<string, SqlValue>>({
        ...{ text, ...(name === undefined ? {} : { name }) },
        values: values.map((value) => (value instanceof Uint8Array ? Buffer.from(value) : value)),
      })
      if (sql === 'COMMIT' && command !== 'COMMIT') {
        throw new StorageError('STORE_FAILED', 'the transaction failed and was rolled back')
      }
      return { rows, changes: rowCount ?? 0 }
    } catch (error) {
      if (isRepeated && this.#canPrepare && NOT_PREPARED.has(sqlState(error) ?? '')) {
        this.#canPrepare = false
        return await this.#query(generation, sql, parameters)
      }
      const known = toStorageError(error)
      // A connection that could not be opened is dropped, regardless of the error.
      const isOpen = this.#isReady && connection === this.#connection
      if (!isOpen || belongsToConnection(known)) this.#drop(known, connection)
      throw known
    }
  }

  #settings(): Readonly<Record<string, string>> {
    const limits = { ...LIMITS, statement_timeout: Math.ceil(this.#deadlineMs) }
    const texts = Object.entries(limits).map(([name, ms]) => [name, String(ms)] as const)
    return Object.fromEntries(texts)
  }

  #connect(): Dial {
    const connection = dial({
      loadTarget: this.#loadTarget,
      deadlineMs: this.#deadlineMs,
      settings: this.#settings(),
    })
    connection.ready.then(
      ({ client, pooledPath }) => {
        if (connection !== this.#connection) {
          destroySocket(client)
          return
        }
        const lose = (error?: Error) => {
          this.#drop(toStorageError(error ?? new Error('the connection ended')), connection)
        }
        client.on('error', lose)
        client.on('end', lose)
        this.#pooledPath = pooledPath
        this.#isReady = true
        if (this.#wasLost) this.#onRedialled()
        this.#wasLost = false
      },
      () => undefined,
    )
    return connection
  }

  /** @param connection the connection to drop; no effect if another one has since replaced it */
  #drop(error: StorageError, connection = this.#connection): void {
    if (connection !== this.#connection) return
    this.#connection = undefined
    this.#generation += 1
    this.#wasLost = this.#wasLost || this.#isReady
    this.#isReady = false
    connection?.abort()
    this.#abort?.(error)
  }
}

function closed(): StorageError {
  return new StorageError('STORE_CLOSED', 'the store is closed')
}
