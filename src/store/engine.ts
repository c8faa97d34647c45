/** The two database engines, each with its own functions to create and open a store. */
// SPDX-License-Identifier: Apache-2.0
import { open, stat, unlink } from 'node:fs/promises'
import { StorageError, type Database } from './database.ts'
import { syncFolder } from './master-key.ts'
import { loadTarget, type PostgresAddress } from './postgres/address.ts'
import type { PostgresOptions } from './postgres/database.ts'
import { openSqlite, type SqliteOptions } from './sqlite/database.ts'

export interface StorePlace {
  /** The SQLite database file. Either this or `postgres` is set. */
  readonly path?: string
  readonly postgres?: PostgresAddress
  /** Statement timeout, in milliseconds. */
  readonly deadlineMs?: number
  /** Which connections to open to a PostgreSQL server; see PostgresOptions. */
  readonly connections?: PostgresOptions['connections']
  /** True if a command uses the store. Nothing else then needs the event loop. */
  readonly isCommand?: boolean
  /** Whether to refuse a database whose encoding cannot represent all text. */
  readonly requiresUtf8?: boolean
  /** Role that the server connects as; set only if `postgres` connects as the table owner. */
  readonly servingRole?: string
}

export interface Engine {
  /** Reports whether a store exists, even a damaged one. @throws StorageError */
  exists(): Promise<boolean>
  /**
   * Creates an empty database with Latchkey's tables.
   * @throws StorageError STORE_EXISTS
   */
  create(): Promise<Database>
  /** Undoes `create`. */
  discard(database: Database): Promise<void>
  /** Makes a new store durable, in its directory or on its server. */
  settle(): Promise<void>
  /** @throws StorageError STORE_MISSING, STORE_NEWER, STORE_CORRUPT */
  open(): Promise<Database>
}

export const DEFAULT_DEADLINE_MS = 5000

export function createEngine(place: StorePlace): Engine {
  if (place.postgres !== undefined) return createPostgresEngine(place.postgres, place)
  return createSqliteEngine({
    path: place.path ?? '',
    deadlineMs: place.deadlineMs ?? DEFAULT_DEADLINE_MS,
    isCommand: place.isCommand === true,
  })
}

function createSqliteEngine(options: SqliteOptions): Engine {
  const { path } = options
  return {
    exists: () =>
      stat(path).then(
        () => true,
        () => false,
      ),
    async create() {
      await createEmptyFile(path)
      try {
        return await openSqlite(options)
      } catch (error) {
        await unlink(path).catch(() => undefined)
        throw error
      }
    },
    async discard(database) {
      await database.close()
      await unlink(path).catch(() => undefined)
    },
    settle: () => syncFolder(path),
    async open() {
      // Opening never creates an empty store, because an empty store would look as if all keys had
      // been lost.
      const found = await stat(path).catch(() => undefined)
      if (found === undefined) {
        throw new StorageError('STORE_MISSING', `${path}: there is no store`, {
          hint: 'run latchkey init to create a store; if a store already existed, check that its volume is mounted',
        })
      }
      if (found.size === 0) throw new StorageError('STORE_CORRUPT', `${path} is empty`)
      return openSqlite(options)
    },
  }
}

async function createEmptyFile(path: string): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o600)
    await file.close()
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    throw new StorageError('STORE_EXISTS', `${path}: a store already exists`, { cause })
  }
}

function createPostgresEngine(address: PostgresAddress, place: StorePlace): Engine {
  const name = `${address.host}/${address.database}`
  const connect = async (options: Pick<PostgresOptions, 'connections' | 'requiresUtf8'>) => {
    // Loaded on demand, because SQLite stores do not need it.
    const { openPostgres } = await import('./postgres/database.ts')
    const loading = () => loadTarget(address)
    const deadlineMs = place.deadlineMs ?? DEFAULT_DEADLINE_MS
    const { servingRole } = place
    return openPostgres({
      ...{ loadTarget: loading, deadlineMs, ...options },
      ...(servingRole === undefined ? {} : { servingRole }),
    })
  }
  const isFilled = async (database: Database) => {
    const [row] = await database.snapshot((reader) =>
      reader.query('SELECT count(*) AS facts FROM facts'),
    )
    return Number(row?.['facts']) > 0
  }
  return {
    async exists() {
      const database = await connect({ connections: 'one', requiresUtf8: true })
      try {
        return await isFilled(database)
      } finally {
        await database.close()
      }
    },
    async create() {
      const database = await connect({ connections: 'one', requiresUtf8: true })
      if (!(await isFilled(database))) return database
      await database.close()
      throw new StorageError('STORE_EXISTS', `${name}: a store already exists`)
    },
    // Nothing needs to be removed: all of a new store's records are written in one transaction, so
    // a failure leaves only empty tables behind.
    discard: (database) => database.close(),
    settle: () => Promise.resolve(),
    async open() {
      const { connections = 'three', requiresUtf8 = false } = place
      const database = await connect({ connections, requiresUtf8 })
      if (await isFilled(database)) return database
      await database.close()
      throw new StorageError('STORE_MISSING', `${name}: there is no store`, {
        hint: 'run latchkey init to create a store; if a store already existed, check that this is the right server',
      })
    },
  }
}
