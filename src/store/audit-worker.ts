/**
 * A thread that audits the store. It reads and verifies every sealed row on its own connection,
 * which keeps the server's event loop free.
 */
// SPDX-License-Identifier: Apache-2.0
import { parentPort, workerData } from 'node:worker_threads'
import type Sqlite from 'better-sqlite3'
import { Secret } from '../core/secret.ts'
import { lowerOwnPriority } from '../core/thread-priority.ts'
import type { PostgresTarget } from './postgres/address.ts'
import { StorageError, type Reader, type Row, type StorageErrorCode } from './database.ts'
import { verifyTable } from './sealed-rows.ts'
import { FACTS, SEALED_TABLES } from './sealed-tables.ts'
import { readState } from './sealed-state.ts'
import { createVerifyingSealing } from './combined-sealing.ts'
import type { Sealing, SealingKeys } from './sealing.ts'
import { checkSqliteSchema, makeSchema } from './sqlite/schema.ts'

export interface AuditWorkerData {
  /**
   * Path of the SQLite file; absent if the store is on a server, whose address each request
   * contains.
   */
  readonly path: string | undefined
  /** Statement timeout, in milliseconds. */
  readonly deadlineMs: number
}

/**
 * Requests one audit. Each request carries the server's address, because the password may have
 * changed.
 */
export interface AuditOrder {
  /** Verification keys: one, or two during a store key replacement. */
  readonly keys: readonly SealingKeys[]
  readonly target?: Omit<PostgresTarget, 'password'>
  /** Plaintext password, because a Secret cannot be structured-cloned. */
  readonly password?: string
}

/** Result of one audit; `error` is set if the audit failed. */
export interface AuditResult {
  readonly error?: {
    readonly code: StorageErrorCode
    readonly message: string
    readonly hint?: string | undefined
  }
}

/** Engine-independent view of the store for the audit. */
interface Source {
  snapshot<T>(work: (reader: Reader) => Promise<T>): Promise<T>
  checkSchema(reader: Reader): Promise<void>
  close(): Promise<void>
}

const { path, deadlineMs } = workerData as AuditWorkerData
/** Number of rows per statement. Unlike the event loop, this thread may be blocked. */
const PAGE_ROWS = 1000
let file: Promise<Source> | undefined

lowerOwnPriority()

/** Opens the file on this thread. Every read blocks the thread. */
async function openFile(of: string): Promise<Source> {
  const { default: Engine } = await import('better-sqlite3')
  const database = new Engine(of, { readonly: true, fileMustExist: true, timeout: deadlineMs })
  const schema = makeSchema()
  const statements = new Map<string, Sqlite.Statement>()
  const reader: Reader = {
    query(sql, parameters = []) {
      let statement = statements.get(sql)
      if (statement === undefined) statements.set(sql, (statement = database.prepare(sql)))
      return Promise.resolve(statement.all(...parameters) as Row[])
    },
  }
  return {
    async snapshot(work) {
      database.exec('BEGIN')
      try {
        return await work(reader)
      } finally {
        if (database.inTransaction) database.exec('COMMIT')
      }
    },
    checkSchema: (reader) => checkSqliteSchema(reader, schema),
    close: () => Promise.resolve(),
  }
}

async function openServer(target: PostgresTarget): Promise<Source> {
  const { openPostgresReader } = await import('./postgres/database.ts')
  return openPostgresReader({ loadTarget: () => Promise.resolve(target), deadlineMs })
}

async function audit({ keys, target, password }: AuditOrder): Promise<void> {
  const login = password === undefined ? {} : { password: new Secret(password) }
  const source = await (target === undefined
    ? (file ??= openFile(path ?? ''))
    : openServer({ ...target, ...login }))
  try {
    await auditSource(source, createVerifyingSealing(keys))
  } finally {
    // Server connections are scarce, so this connection is closed after each audit.
    if (target !== undefined) await source.close()
  }
}

/** Reads each table in its own snapshot, so that no snapshot lasts for the whole audit. */
async function auditSource(source: Source, sealing: Sealing): Promise<void> {
  await source.snapshot(async (reader) => {
    await source.checkSchema(reader)
    await verifyTable(reader, sealing, FACTS, await readState(reader, sealing))
  })
  for (const table of SEALED_TABLES) {
    await source.snapshot(async (reader) => {
      const state = await readState(reader, sealing)
      await verifyTable(reader, sealing, table, state, PAGE_ROWS)
    })
  }
}

function toError(error: unknown): NonNullable<AuditResult['error']> {
  if (error instanceof StorageError) {
    const { code, message, hint } = error
    return { code, message, hint }
  }
  const code: unknown = error instanceof Error && 'code' in error ? error.code : undefined
  const isDamage = typeof code === 'string' && /^SQLITE_(CORRUPT|NOTADB)/.test(code)
  const name = typeof code === 'string' ? code : 'UNKNOWN'
  return { code: isDamage ? 'STORE_CORRUPT' : 'STORE_FAILED', message: `the audit failed: ${name}` }
}

parentPort?.on('message', (order: AuditOrder) => {
  void audit(order).then(
    () => {
      parentPort?.postMessage({})
    },
    (error: unknown) => {
      parentPort?.postMessage({ error: toError(error) })
    },
  )
})
