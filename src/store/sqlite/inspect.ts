/**
 * Reads a store's file without opening it in place. If SQLite opened it in place, it would leave
 * behind a WAL owned by the current user, which the server could not write.
 */
// SPDX-License-Identifier: Apache-2.0
import { open, readFile, stat } from 'node:fs/promises'
import { StorageError } from '../database.ts'
import { MIGRATIONS } from '../migrations/migrations.ts'
import { APPLICATION_ID } from './schema.ts'

export interface StoreFile {
  /**
   * The wrapped store key; absent if it cannot be read, because the file is too large or the store
   * is new.
   */
  readonly masterKeyRecord?: string
  /**
   * Whether the WAL holds changes that are not in the file yet, for example while a server is
   * running.
   */
  readonly hasWal: boolean
}

/**
 * Fields of the database header (SQLite Database File Format, 1.3): the magic text at offset 0, the
 * user version and application id, and the file format versions, which indicate WAL mode.
 */
const MAGIC = 'SQLite format 3\0'
const HEADER_BYTES = 100
const AT = { writeVersion: 18, readVersion: 19, userVersion: 60, applicationId: 68 }
const ROLLBACK_JOURNAL = 1
/** Maximum size of a file that is read in full. */
const MAX_READ_BYTES = 256 * 1024 * 1024

/**
 * @throws StorageError STORE_CORRUPT or STORE_NEWER, as when the store is opened; or a system error
 */
export async function inspectSqlite(path: string): Promise<StoreFile> {
  const wal = await stat(`${path}-wal`).catch(() => undefined)
  const hasWal = wal !== undefined && wal.size > 0
  const header = await readHeader(path)
  if (header.length === 0) throw new StorageError('STORE_CORRUPT', `${path} is empty`)
  const isSqlite = header.length === HEADER_BYTES && header.toString('latin1', 0, 16) === MAGIC
  // Until the first checkpoint, a new store's header exists only in the WAL.
  const isOurs = isSqlite && (header.readUInt32BE(AT.applicationId) === APPLICATION_ID || hasWal)
  if (!isOurs) throw new StorageError('STORE_CORRUPT', `${path} is not a Latchkey store`)
  const version = header.readUInt32BE(AT.userVersion)
  if (version > MIGRATIONS.length) {
    throw new StorageError(
      'STORE_NEWER',
      `${path} has schema version ${String(version)}; this release supports up to ${String(MIGRATIONS.length)}`,
      { hint: 'use the release that wrote the store, or a later release' },
    )
  }
  const masterKeyRecord = await readMasterKeyRecord(path, hasWal)
  return { hasWal, ...(masterKeyRecord === undefined ? {} : { masterKeyRecord }) }
}

async function readHeader(path: string): Promise<Buffer> {
  const file = await open(path, 'r')
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(HEADER_BYTES), 0, HEADER_BYTES, 0)
    return buffer.subarray(0, bytesRead)
  } finally {
    await file.close()
  }
}

/** Reads the wrapped store key from an in-memory copy of the file. */
async function readMasterKeyRecord(path: string, hasWal: boolean): Promise<string | undefined> {
  if ((await stat(path)).size > MAX_READ_BYTES) return undefined
  const bytes = await readFile(path)
  // SQLite cannot open an in-memory database in WAL mode.
  bytes[AT.writeVersion] = ROLLBACK_JOURNAL
  bytes[AT.readVersion] = ROLLBACK_JOURNAL
  const { default: Sqlite } = await import('better-sqlite3')
  try {
    const database = new Sqlite(bytes, { readonly: true })
    try {
      const row = database.prepare("SELECT value FROM facts WHERE name = 'master_key'").get()
      return (row as { readonly value?: string } | undefined)?.value
    } finally {
      database.close()
    }
  } catch (cause) {
    // If there is a WAL, a checkpoint may have changed the file while it was being read.
    if (hasWal) return undefined
    throw new StorageError('STORE_CORRUPT', `${path} cannot be read as a store`, { cause })
  }
}
