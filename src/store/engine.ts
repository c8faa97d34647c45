/** Where a store is kept: the two engines, each with what making and opening a store means there. */
// SPDX-License-Identifier: Apache-2.0
import { open, stat, unlink } from 'node:fs/promises'
import { StorageError, type Database } from './database.ts'
import { syncFolder } from './master-key.ts'
import { loadTarget, type PostgresAddress } from './postgres/address.ts'
import type { PostgresOptions } from './postgres/database.ts'
import { openSqlite } from './sqlite/database.ts'

export interface StorePlace {
  /** The SQLite database file. Either this or `postgres`. */
  readonly path?: string
  readonly postgres?: PostgresAddress
  /** Of each statement, in milliseconds. */
  readonly deadlineMs?: number
  /** How many connections to a server. */
  readonly connections?: PostgresOptions['connections']
  /** Refuse a database whose encoding cannot keep every text. */
  readonly requiresUtf8?: boolean
}

export interface Engine {
  /** Whether there is a store, whatever state it is in. @throws StorageError */
  exists(): Promise<boolean>
  /** An empty database with our tables. @throws StorageError STORE_EXISTS */
  create(): Promise<Database>
  /** Takes back what `create` made. */
  discard(database: Database): Promise<void>
  /** Makes durable what the folder or the server has to know of a new store. */
  settle(): Promise<void>
  /** @throws StorageError STORE_MISSING, STORE_NEWER, STORE_CORRUPT */
  open(): Promise<Database>
  /** A further opening of the same store, for reading; absent where a connection is dear. */
  openAuditor?(): Promise<Database>
}

const DEFAULT_DEADLINE_MS = 5000

export function createEngine(place: StorePlace): Engine {
  if (place.postgres !== undefined) return createPostgresEngine(place.postgres, place)
  return createSqliteEngine(place.path ?? '', place.deadlineMs ?? DEFAULT_DEADLINE_MS)
}

function createSqliteEngine(path: string, deadlineMs: number): Engine {
  return {
    exists: () =>
      stat(path).then(
        () => true,
        () => false,
      ),
    async create() {
      await createEmptyFile(path)
      try {
        return await openSqlite({ path, deadlineMs })
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
    openAuditor: () => openSqlite({ path, deadlineMs }),
    async open() {
      // Never made here: an empty store where a full one was expected would look like lost keys.
      const found = await stat(path).catch(() => undefined)
      if (found === undefined) {
        throw new StorageError('STORE_MISSING', `${path}: there is no store`, {
          hint: 'latchkey init makes one; if there was one, look for the volume that held it',
        })
      }
      if (found.size === 0) throw new StorageError('STORE_CORRUPT', `${path} is empty`)
      return openSqlite({ path, deadlineMs })
    },
  }
}

async function createEmptyFile(path: string): Promise<void> {
  try {
    const file = await open(path, 'wx', 0o600)
    await file.close()
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    throw new StorageError('STORE_EXISTS', `${path}: there is a store already`, { cause })
  }
}

function createPostgresEngine(address: PostgresAddress, place: StorePlace): Engine {
  const name = `${address.host}/${address.database}`
  const connect = async (options: Pick<PostgresOptions, 'connections' | 'requiresUtf8'>) => {
    // A store that is a file needs none of it.
    const { openPostgres } = await import('./postgres/database.ts')
    const loading = () => loadTarget(address)
    const deadlineMs = place.deadlineMs ?? DEFAULT_DEADLINE_MS
    return openPostgres({ loadTarget: loading, deadlineMs, ...options })
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
      throw new StorageError('STORE_EXISTS', `${name}: there is a store already`)
    },
    // The facts come in one transaction, so what is left is empty tables.
    discard: (database) => database.close(),
    settle: () => Promise.resolve(),
    async open() {
      const { connections = 'three', requiresUtf8 = false } = place
      const database = await connect({ connections, requiresUtf8 })
      if (await isFilled(database)) return database
      await database.close()
      throw new StorageError('STORE_MISSING', `${name}: there is no store`, {
        hint: 'latchkey init makes one; if there was one, look for the server that holds it',
      })
    },
  }
}
