/**
 * A PostgreSQL connection that reconnects on its own and runs statements sequentially, each with a
 * deadline.
 */
// SPDX-License-Identifier: Apache-2.0
import type pg from 'pg'
import { systemClock } from '../../core/clock.ts'
import { type Row, type SqlParameters, type SqlValue, StorageError, valuesOf } from '../database.ts'
import type { PostgresTarget } from './address.ts'
import { destroySocket, type Dial, dial } from './dial.ts'
import { belongsToConnection, closed, late, sqlState, toStorageError } from './errors.ts'
import { toSessionSettings, toTransactionSettings } from './session-settings.ts'
import { toDriverQuery } from './statements.ts'

/**
 * SQLSTATEs of a session that lacks a prepared statement, or has one that another client prepared
 * (PostgreSQL, Appendix A).
 */
const NOT_PREPARED: ReadonlySet<string> = new Set(['26000', '42P05'])

type Answer = Pick<pg.QueryResult<Record<string, SqlValue>>, 'rows' | 'rowCount' | 'command'>

export interface PostgresResult {
  readonly rows: readonly Row[]
  readonly changes: number
}

export class PostgresSession {
  readonly #loadTarget: () => Promise<PostgresTarget>
  /** Time limit for a statement, including the connection that it may need, in milliseconds. */
  readonly deadlineMs: number
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
  /** Monotonic time in milliseconds that all statements must keep, besides their own deadlines. */
  endsAt = Infinity

  constructor(
    loadTarget: () => Promise<PostgresTarget>,
    deadlineMs: number,
    onRedialled: () => void = () => undefined,
  ) {
    this.#loadTarget = loadTarget
    this.deadlineMs = deadlineMs
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
    return path === undefined ? undefined : toTransactionSettings(path, this.deadlineMs)
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
      return await this.#orRollBack(generation, async () => {
        // A query without parameters can contain several statements, which saves a round trip.
        await this.#query(generation, `BEGIN ISOLATION LEVEL READ COMMITTED; ${settings}`)
        const result = await this.#query(generation, sql, parameters)
        await this.#query(generation, 'COMMIT')
        return result
      })
    })
  }

  /**
   * Runs a whole transaction in one message. Its statements have no parameters.
   * @param begin the statement that begins the transaction
   * @returns the rows of each other statement
   * @throws StorageError
   */
  runScript(begin: string, statements: readonly string[]): Promise<readonly (readonly Row[])[]> {
    const generation = this.#generation
    return this.#limit(generation, async () => {
      await this.#connected()
      const settings = this.transactionSettings
      const first = settings === undefined ? [begin] : [begin, settings]
      const script = [...first, ...statements, 'COMMIT'].join('; ')
      const results = await this.#orRollBack(generation, () => this.#send(generation, script))
      return results.slice(first.length, -1).map(({ rows }) => rows)
    })
  }

  /** Ends the transaction in which `work` failed. */
  async #orRollBack<T>(generation: number, work: () => Promise<T>): Promise<T> {
    try {
      return await work()
    } catch (error) {
      if (this.#isReady && generation === this.#generation) {
        await this.#query(generation, 'ROLLBACK').catch(() => {
          this.reset()
        })
      }
      throw error
    }
  }

  /** Runs `start`, which sends statements, and drops the connection after the deadline. */
  async #limit<T>(generation: number, start: () => Promise<T>): Promise<T> {
    if (this.#closed) throw closed()
    this.#checkGeneration(generation)
    const now = systemClock.monotonic()
    const leftMs = Math.min(this.deadlineMs, this.endsAt - now)
    if (leftMs <= 0) throw late()
    this.#busySince = now
    const work = start()
    work.catch(() => undefined)
    return await new Promise<T>((resolve, reject) => {
      // The timer is cleared as soon as the reply arrives. A timeout drops the whole connection,
      // not only the call.
      const timer = setTimeout(() => {
        this.#drop(late())
      }, leftMs)
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
    const [result] = await this.#send(generation, sql, parameters, isRepeated)
    return { rows: result?.rows ?? [], changes: result?.rowCount ?? 0 }
  }

  /** Returns the result of each statement in a text; only one without parameters has several. */
  async #send(
    generation: number,
    sql: string,
    parameters: SqlParameters = [],
    isRepeated = false,
  ): Promise<readonly Answer[]> {
    this.#checkGeneration(generation)
    const connection = (this.#connection ??= this.#connect())
    try {
      const { client } = await connection.ready
      const query = toDriverQuery(sql, valuesOf(parameters), isRepeated && this.#canPrepare)
      // The types of pg do not say that a text with several statements has an array of results.
      const answer: unknown = await client.query<Record<string, SqlValue>>(query)
      const results = (Array.isArray(answer) ? answer : [answer]) as readonly Answer[]
      if (sql.endsWith('COMMIT') && results.at(-1)?.command !== 'COMMIT') {
        throw new StorageError('STORE_FAILED', 'the transaction failed and was rolled back')
      }
      return results
    } catch (error) {
      if (isRepeated && this.#canPrepare && NOT_PREPARED.has(sqlState(error) ?? '')) {
        this.#canPrepare = false
        return await this.#send(generation, sql, parameters)
      }
      const known = toStorageError(error)
      // A connection that could not be opened is dropped, regardless of the error.
      const isOpen = this.#isReady && connection === this.#connection
      if (!isOpen || belongsToConnection(known)) this.#drop(known, connection)
      throw known
    }
  }

  #connect(): Dial {
    const connection = dial({
      loadTarget: this.#loadTarget,
      deadlineMs: this.deadlineMs,
      settings: toSessionSettings(this.deadlineMs),
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
