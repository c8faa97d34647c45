/**
 * A thread that owns SQLite connections, because better-sqlite3 blocks on disk I/O and the event
 * loop must not.
 */
// SPDX-License-Identifier: Apache-2.0
import { statSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'
import Sqlite from 'better-sqlite3'
import { StorageError, type Row, type SqlValue, type StorageErrorCode } from '../database.ts'
import { describeAddOnFault, rebuildHint } from '../../core/native-add-on.ts'
import { MIGRATIONS } from '../migrations/migrations.ts'
import { APPLICATION_ID, makeSchema } from './schema.ts'
import type { Command, CommandMessage, Connection, ReplyMessage } from './protocol.ts'

/** Path of the open store, which changes each time the worker is reused. */
let path = ''
let connections: Partial<Record<Connection, Sqlite.Database>> = {}

type OpenCommand = Extract<Command, { readonly kind: 'open' }>

function connection(name: Connection): Sqlite.Database {
  const found = connections[name]
  if (found === undefined) throw new StorageError('STORE_CLOSED', 'the store is not open')
  return found
}

function open({ as, busyTimeoutMs, identity: expected, ...command }: OpenCommand): void {
  path = command.path
  const writer = new Sqlite(path, { fileMustExist: true, timeout: busyTimeoutMs })
  connections.writer = writer
  // Nothing is written until this check has passed, so a rejected store stays unchanged.
  const version = checkFile(writer, as)
  writer.pragma('journal_mode = WAL')
  // A heartbeat may be acknowledged before it is on disk; everything else must be durable first.
  writer.pragma(`synchronous = ${as === 'heart' ? 'NORMAL' : 'FULL'}`)
  writer.pragma('foreign_keys = ON')
  // Deleted secrets are overwritten rather than left in free space.
  writer.pragma('secure_delete = ON')
  if (as === 'owner') {
    if (version < MIGRATIONS.length) migrate(writer)
    connections.reader = new Sqlite(path, { readonly: true, timeout: busyTimeoutMs })
  }
  identity = expected ?? identify()
  checkIdentity()
}

/**
 * Identifies the files that are open, because the file at the store's path may later be replaced.
 */
let identity: string | undefined

function identify(): string {
  // The first write creates the WAL, which remains while any process has the store open.
  return [path, `${path}-wal`]
    .map((file) => {
      const found = statSync(file, { throwIfNoEntry: false })
      return found === undefined ? 'none' : `${String(found.dev)}:${String(found.ino)}`
    })
    .join(' ')
}

/**
 * SQLite keeps using files that were removed or replaced, while every other process uses the new
 * ones. This process would never see a kill switch that is written to the new files.
 */
function checkIdentity(): void {
  const now = identify()
  if (identity?.endsWith(' none') === true && now.startsWith(identity.slice(0, -4))) identity = now
  if (now === identity) return
  throw new StorageError('STORE_REPLACED', `${path} was removed or replaced while it was open`, {
    hint: 'move the file back if you moved it, or restart to use the current file',
  })
}

/** Runs a single statement in its own transaction. */
function write(sql: string, parameters: readonly SqlValue[]): readonly Row[] {
  checkIdentity()
  return connection('writer')
    .prepare(sql)
    .all(...parameters) as Row[]
}

/** Returns the schema version. An empty file is a store that is still being created. */
function checkFile(database: Sqlite.Database, as: 'owner' | 'heart'): number {
  const version = Number(database.pragma('user_version', { simple: true }))
  const owner = Number(database.pragma('application_id', { simple: true }))
  // Checks the file size rather than the pages: SQLite treats a file shorter than a header as
  // empty, and would overwrite it.
  const isEmpty = statSync(path).size === 0
  if (!isEmpty && owner !== APPLICATION_ID) {
    throw new StorageError('STORE_CORRUPT', `${path} is not a Latchkey store`)
  }
  if (version > MIGRATIONS.length) {
    throw new StorageError(
      'STORE_NEWER',
      `${path} has schema version ${String(version)}; this release supports up to ${String(MIGRATIONS.length)}`,
      { hint: 'use the release that wrote the store, or a later release' },
    )
  }
  // Only the owner runs this check, because it takes longer for larger files.
  if (as === 'owner' && database.pragma('quick_check(1)', { simple: true }) !== 'ok') {
    throw new StorageError('STORE_CORRUPT', `${path} failed its integrity check`)
  }
  return version
}

function migrate(database: Sqlite.Database): void {
  const steps = database.transaction(() => {
    // The version is read again under the lock, because another process may have migrated the file
    // first.
    const from = Number(database.pragma('user_version', { simple: true }))
    for (const step of MIGRATIONS.slice(from)) for (const sql of step) database.exec(sql)
    database.pragma(`user_version = ${String(MIGRATIONS.length)}`)
    database.pragma(`application_id = ${String(APPLICATION_ID)}`)
  })
  steps.immediate()
}

/** Rows that are still to be sent, by their cursor, until their connection begins something else. */
const unsent = new Map<number, { readonly on: Connection; rows: readonly SqlValue[][] }>()
let lastCursor = 0

function takeRows(
  from: { readonly on: Connection; readonly rows: readonly SqlValue[][]; readonly maxRows: number },
  cursor = ++lastCursor,
): Pick<ReplyMessage, 'cursor'> & { readonly values: readonly SqlValue[][] } {
  const { on, rows, maxRows } = from
  if (rows.length <= maxRows) {
    unsent.delete(cursor)
    return { values: rows }
  }
  unsent.set(cursor, { on, rows: rows.slice(maxRows) })
  return { values: rows.slice(0, maxRows), cursor }
}

function forgetRows(of: Connection): void {
  for (const [cursor, { on }] of unsent) if (on === of) unsent.delete(cursor)
}

/** Closes everything, so that another store can be opened. */
function close(): void {
  const { reader, writer } = connections
  unsent.clear()
  connections = {}
  identity = undefined
  reader?.close()
  writer?.close()
}

function perform(command: Command): Omit<ReplyMessage, 'id'> {
  switch (command.kind) {
    case 'open':
      open(command)
      return command.as === 'owner' ? { identity, schema: makeSchema() } : {}
    case 'query': {
      const statement = connection(command.on).prepare(command.sql).raw(true)
      const rows = statement.all(...command.parameters) as SqlValue[][]
      const { values, ...more } = takeRows({ maxRows: Infinity, ...command, rows })
      return { table: { columns: statement.columns().map(({ name }) => name), values }, ...more }
    }
    case 'more': {
      const rest = unsent.get(command.cursor)
      if (rest === undefined) throw new StorageError('STORE_FAILED', 'a query ended too early')
      const { values, ...more } = takeRows({ ...rest, ...command }, command.cursor)
      return { table: { columns: [], values }, ...more }
    }
    case 'execute': {
      const result = connection('writer')
        .prepare(command.sql)
        .run(...command.parameters)
      return { changes: result.changes }
    }
    case 'write':
      return { rows: write(command.sql, command.parameters) }
    case 'begin':
      forgetRows(command.on)
      connection(command.on).exec(command.on === 'writer' ? 'BEGIN IMMEDIATE' : 'BEGIN')
      return {}
    case 'commit':
      connection(command.on).exec('COMMIT')
      return {}
    case 'rollback':
      if (connection(command.on).inTransaction) connection(command.on).exec('ROLLBACK')
      return {}
    case 'erase':
      // The WAL still contains the deleted values, so it is copied into the database and truncated.
      connection('writer').pragma('wal_checkpoint(TRUNCATE)')
      return {}
    case 'close':
      close()
      return {}
  }
}

const CODES: readonly (readonly [prefix: string, code: StorageErrorCode])[] = [
  ['SQLITE_CORRUPT', 'STORE_CORRUPT'],
  ['SQLITE_NOTADB', 'STORE_CORRUPT'],
  ['SQLITE_BUSY', 'STORE_BUSY'],
  ['SQLITE_CONSTRAINT', 'CONFLICT'],
  ['SQLITE_CANTOPEN', 'STORE_MISSING'],
]

/** Explains result codes whose names are not clear enough. */
const MEANINGS: readonly (readonly [prefix: string, text: string])[] = [
  ['SQLITE_FULL', 'the disk is full'],
  ['SQLITE_READONLY', 'the file or its file system is read-only'],
  [
    'SQLITE_IOERR',
    'the file could not be read or written: the disk is full or faulty, or a limit was reached',
  ],
  ['SQLITE_BUSY', 'another process holds the lock'],
]

function toReplyError(error: unknown): NonNullable<ReplyMessage['error']> {
  if (error instanceof StorageError) {
    const { code, message, hint } = error
    return { code, message, hint }
  }
  const engine = describeAddOnFault(error)
  if (engine !== undefined) {
    const message = `the store's engine, better-sqlite3, ${engine}`
    return { code: 'STORE_ENGINE_MISSING', message, hint: rebuildHint('better-sqlite3') }
  }
  const sqlite = toSqliteCode(error)
  const code = CODES.find(([prefix]) => sqlite.startsWith(prefix))?.[1] ?? 'STORE_FAILED'
  // SQLite's own message can quote values, so only the code is reported.
  const meaning = MEANINGS.find(([prefix]) => sqlite.startsWith(prefix))?.[1]
  const text = meaning === undefined ? '' : ` (${meaning})`
  return { code, message: `the store at ${path} failed: ${sqlite}${text}` }
}

function toSqliteCode(error: unknown): string {
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' ? code : 'UNKNOWN'
}

parentPort?.on('message', ({ id, command }: CommandMessage) => {
  let reply: ReplyMessage
  try {
    reply = { id, ...perform(command) }
  } catch (error) {
    reply = { id, error: toReplyError(error) }
  }
  parentPort?.postMessage(reply)
})
