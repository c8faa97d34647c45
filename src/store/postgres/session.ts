/** One connection to PostgreSQL that comes back by itself: statements with a deadline, one after the other. */
// SPDX-License-Identifier: Apache-2.0
import type { ConnectionOptions } from 'node:tls'
import pg from 'pg'
import type { Secret } from '../../core/secret.ts'
import { type Row, type SqlValue, StorageError, type StorageErrorCode } from '../database.ts'

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

/** Milliseconds. A process that stands still inside a transaction must not keep a kill switch from being written. */
const LIMITS = { idle_in_transaction_session_timeout: 2500, lock_timeout: 1000 } as const
/** PostgreSQL, Appendix A, protocol_violation: what a pooler of transactions says to settings of a session. */
const REFUSED_SETTINGS = '08P01'
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
  /** The session is shared with others, so limits are those of each transaction. */
  #isPooled = false

  constructor(target: PostgresTarget, deadlineMs: number) {
    this.#target = target
    this.#deadlineMs = deadlineMs
  }

  /** Another number once the connection is another: what a transaction had begun is over then. */
  get generation(): number {
    return this.#generation
  }

  /** Sets the limits for one transaction; undefined where the session has them. */
  get transactionLimits(): string | undefined {
    if (!this.#isPooled) return undefined
    const limits = Object.entries({ ...LIMITS, statement_timeout: Math.ceil(this.#deadlineMs) })
    const calls = limits.map(([name, ms]) => `set_config('${name}', '${String(ms)}', true)`)
    return `SELECT ${calls.join(', ')}`
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
      // Cleared as soon as the answer is there; a late one costs the connection, not only the call.
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
      if (!this.#isPooled && (error as { code?: unknown }).code === REFUSED_SETTINGS) {
        this.#isPooled = true
        this.#connection = undefined
        destroySocket(client)
        return this.#query(sql, parameters)
      }
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
      application_name: 'latchkey',
      ...(this.#isPooled ? {} : { statement_timeout: Math.ceil(this.#deadlineMs), ...LIMITS }),
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

const cache = new Map<string, string>()
/** Statements are constants of this program, in a few forms each. */
const MAX_CACHED = 1000

/**
 * `?` becomes `$1::bigint` and so on: PostgreSQL has to know the type of a parameter that stands alone.
 * Null goes without a type, since it fits any column. None of our statements has a `?` in quotes.
 */
function toPostgresSql(sql: string, parameters: readonly SqlValue[]): string {
  const casts = parameters.map(toCast)
  const name = `${casts.join()} ${sql}`
  const known = cache.get(name)
  if (known !== undefined) return known
  let count = 0
  const translated = sql.replaceAll('?', () => {
    count += 1
    return `$${String(count)}${casts[count - 1] ?? ''}`
  })
  if (cache.size >= MAX_CACHED) cache.clear()
  cache.set(name, translated)
  return translated
}

function toCast(value: SqlValue): string {
  if (value === null) return ''
  if (typeof value === 'string') return '::text'
  if (typeof value === 'number') {
    return Number.isInteger(value) ? '::bigint' : '::double precision'
  }
  return '::bytea'
}

/** PostgreSQL, Appendix A: the whole code, or its class of two characters. */
const CODES: readonly (readonly [prefix: string, code: StorageErrorCode])[] = [
  ['23', 'CONFLICT'],
  ['55P03', 'STORE_BUSY'],
  ['40', 'STORE_BUSY'],
  ['53', 'STORE_BUSY'],
  ['57014', 'STORE_TIMEOUT'],
  ['25P03', 'STORE_TIMEOUT'],
  ['3D000', 'STORE_MISSING'],
  ['XX001', 'STORE_CORRUPT'],
  ['XX002', 'STORE_CORRUPT'],
  ['57P', 'STORE_UNREACHABLE'],
  ['08', 'STORE_UNREACHABLE'],
]

function toStorageError(error: unknown): StorageError {
  if (error instanceof StorageError) return error
  const given: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  const state = typeof given === 'string' ? given : ''
  if (/^[0-9A-Z]{5}$/.test(state) && !state.startsWith('E')) {
    const code = CODES.find(([prefix]) => state.startsWith(prefix))?.[1] ?? 'STORE_FAILED'
    return new StorageError(code, `the store failed: SQLSTATE ${state}`)
  }
  // A system error such as ECONNREFUSED, a failure of TLS, or a connection that ended.
  return new StorageError(
    'STORE_UNREACHABLE',
    `no connection to the store${state === '' ? '' : `: ${state}`}`,
    { cause: error },
  )
}
