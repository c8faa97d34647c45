/**
 * The control store for a fleet: PostgreSQL, or any server that speaks its protocol and SQL
 * dialect.
 */
// SPDX-License-Identifier: Apache-2.0
import { type Periodic, periodic } from '../../core/periodic.ts'
import {
  type Database,
  type ExpectedQuery,
  type Reader,
  type Row,
  type SqlParameters,
  type SqlValue,
  StorageError,
  type Transaction,
} from '../database.ts'
import type { PostgresTarget } from './address.ts'
import { Connection } from './connection.ts'
import { readAhead, UnexpectedQuery } from './read-ahead.ts'
import { checkPostgresSchema, isMigrated, migrateSchema } from './schema.ts'
import { admitServingRole } from './serving-role.ts'
import { PostgresSession } from './session.ts'

export interface PostgresOptions {
  /** Called for each connection, so that changed secrets and certificates take effect. */
  readonly loadTarget: () => Promise<PostgresTarget>
  /** Statement timeout, in milliseconds. */
  readonly deadlineMs: number
  /**
   * `three` (the default): separate connections for reads, writes and heartbeats, which therefore
   * never wait for one another. `one`: a single connection, for a CLI command. `kept`: a connection
   * opened in advance, for emergencies.
   */
  readonly connections?: 'three' | 'one' | 'kept'
  /** Whether to refuse a database whose encoding cannot represent all text. */
  readonly requiresUtf8?: boolean
  /**
   * Role that the server uses. The connection logs in as the table owner and grants this role its
   * access.
   */
  readonly servingRole?: string
}

/**
 * Id of the lock, "Lkey". Every Latchkey process takes the lock to write, so transactions run one
 * at a time.
 */
const WRITER_LOCK = 0x4c6b6579
const SNAPSHOT = 'BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY'
/** Heartbeat timeout in milliseconds. After a timeout, the next heartbeat uses a new connection. */
const BEAT_DEADLINE_MS = 1000
/**
 * Connections per process: one each for reads, writes and heartbeats. The admin listener, which
 * runs once per host, adds up to two.
 */
const CONNECTIONS_OF_A_PROCESS = 3
/**
 * Interval in milliseconds at which an emergency connection is tested, so that a lost connection is
 * detected.
 */
const KEEP_EVERY_MS = 5000

/** @throws StorageError STORE_UNREACHABLE, STORE_MISSING, STORE_NEWER, STORE_UNSUITABLE */
export async function openPostgres(options: PostgresOptions): Promise<Database> {
  const database = new PostgresDatabase(options)
  try {
    if (options.requiresUtf8 === true) await database.checkEncoding()
    await database.migrate()
    const { servingRole } = options
    if (servingRole !== undefined) {
      await database.transaction((transaction) => admitServingRole(transaction, servingRole))
    }
    return database
  } catch (error) {
    await database.close()
    throw error
  }
}

/** Opens a read-only view of a store that another connection in this process has already opened. */
export function openPostgresReader(
  options: Pick<PostgresOptions, 'loadTarget' | 'deadlineMs'>,
): Database {
  return new PostgresDatabase({ ...options, connections: 'one' })
}

class PostgresDatabase implements Database {
  readonly nowSql =
    '(extract(epoch FROM pg_catalog.clock_timestamp()) OPERATOR(pg_catalog.*) 1000)::bigint'
  readonly #reader: Connection
  readonly #writer: Connection
  readonly #beats: Connection
  readonly #keeping: Periodic | undefined
  #closed = false

  constructor({ loadTarget, deadlineMs, connections = 'three' }: PostgresOptions) {
    const reader = new PostgresSession(loadTarget, deadlineMs)
    this.#reader = new Connection(reader)
    if (connections !== 'three') {
      this.#writer = this.#reader
      this.#beats = this.#reader
      if (connections === 'kept') this.#keeping = this.#keep()
      return
    }
    const writer = new PostgresSession(loadTarget, deadlineMs)
    const beatDeadlineMs = Math.min(deadlineMs, BEAT_DEADLINE_MS)
    const beats = new PostgresSession(loadTarget, beatDeadlineMs, () => {
      // After a failover, every connection must move to the new primary.
      for (const other of [reader, writer]) other.distrust(beatDeadlineMs)
    })
    this.#writer = new Connection(writer)
    this.#beats = new Connection(beats)
  }

  #keep(): Periodic {
    return periodic({
      intervalMs: KEEP_EVERY_MS,
      work: async () => {
        await this.#reader.single('SELECT 1', [])
      },
      // The next statement reconnects, and reports the error if that fails.
      onError: () => undefined,
    })
  }

  async snapshot<T>(
    work: (reader: Reader) => Promise<T>,
    expected: readonly ExpectedQuery[] = [],
  ): Promise<T> {
    if (expected.length > 0) {
      try {
        return await work(readAhead(this.#reader, SNAPSHOT, expected))
      } catch (error) {
        if (!(error instanceof UnexpectedQuery)) throw error
      }
    }
    return await this.#reader.transaction([SNAPSHOT], work)
  }

  transaction<T>(work: (transaction: Transaction) => Promise<T>): Promise<T> {
    // The lock serializes transactions, so no transaction needs a retry. Each statement sees
    // everything committed before the lock was taken.
    const lock = `SELECT pg_catalog.pg_advisory_xact_lock(${String(WRITER_LOCK)})`
    return this.#writer.transaction(['BEGIN ISOLATION LEVEL READ COMMITTED', lock], work)
  }

  async epoch(): Promise<number> {
    const rows = await this.heartbeat("SELECT value FROM facts WHERE name = 'epoch'")
    return Number(rows[0]?.['value'])
  }

  heartbeat(sql: string, parameters: readonly SqlValue[] = []): Promise<readonly Row[]> {
    return this.#beats.single(sql, parameters, true)
  }

  write(sql: string, parameters: SqlParameters = []): Promise<readonly Row[]> {
    return this.#writer.single(sql, parameters)
  }

  read(sql: string, parameters: readonly SqlValue[] = []): Promise<readonly Row[]> {
    return this.#writer.single(sql, parameters)
  }

  warnings(processes: number): Promise<readonly string[]> {
    return this.snapshot((reader) => findWarnings(reader, processes * CONNECTIONS_OF_A_PROCESS))
  }

  checkSchema(reader: Reader): Promise<void> {
    return checkPostgresSchema(reader)
  }

  /**
   * Erases nothing, because no client can make the server remove old row versions from its pages,
   * its WAL or its replicas.
   */
  erase(): Promise<void> {
    return this.#closed
      ? Promise.reject(new StorageError('STORE_CLOSED', 'the store is closed'))
      : Promise.resolve()
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const connection of [this.#reader, this.#writer, this.#beats]) connection.close()
    await this.#keeping?.stop()
  }

  /** @throws StorageError STORE_UNSUITABLE */
  async checkEncoding(): Promise<void> {
    const [row] = await this.#reader.single(
      "SELECT current_setting('server_encoding') AS encoding, current_database() AS name",
      [],
    )
    const encoding = String(row?.['encoding'])
    if (encoding === 'UTF8') return
    throw new StorageError(
      'STORE_UNSUITABLE',
      `the database ${String(row?.['name'])} has the encoding ${encoding}; expected UTF8`,
      {
        hint: "create a database with this encoding: CREATE DATABASE latchkey ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0",
      },
    )
  }

  /**
   * Runs all pending migrations in one transaction, in whichever process takes the lock first. If
   * none are pending, it does not wait for other writers, so a whole fleet can start at once.
   */
  async migrate(): Promise<void> {
    const reader: Reader = { query: (sql, parameters = []) => this.#reader.single(sql, parameters) }
    if (await isMigrated(reader)) return
    await this.transaction(migrateSchema)
  }
}

/**
 * Warning threshold for the share of server connections in use. Above it, a few more application
 * connections could leave none for a kill.
 */
const NEAR = 0.8

/** @param needed number of connections that all serving processes use together */
async function findWarnings(reader: Reader, needed: number): Promise<readonly string[]> {
  const [row = {}] = await reader.query(
    `SELECT current_setting('synchronous_standby_names') AS synchronous,
       (SELECT count(*) FROM pg_stat_replication)
         + (SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical') AS standbys,
       current_setting('max_connections')::bigint
         - current_setting('superuser_reserved_connections')::bigint AS most,
       (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS of_role`,
  )
  const warnings: string[] = []
  if (Number(row['standbys']) > 0 && row['synchronous'] === '') {
    warnings.push(
      'there are standbys, but none is synchronous, so a failover can lose a kill; set synchronous_standby_names',
    )
  }
  const ofRole = Number(row['of_role'])
  const most = ofRole < 0 ? Number(row['most']) : Math.min(Number(row['most']), ofRole)
  if (needed > most * NEAR) {
    warnings.push(
      `the serving processes need ${String(needed)} of the server's ${String(most)} connections; raise max_connections, or use a pooler`,
    )
  }
  return warnings
}
