/** Audits a store and, if it cannot be trusted, remembers the reason. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock as clock } from '../core/clock.ts'
import { createAuditThread } from './audit-thread.ts'
import { type Database, isTampered, type Reader, StorageError } from './database.ts'
import type { StorePlace } from './engine.ts'
import { hasNewKeys } from './follow-keys.ts'
import { KeyChange, type Keyring } from './keyring.ts'
import { verifyTable } from './sealed-rows.ts'
import { readState } from './sealed-state.ts'
import { FACTS, SEALED_TABLES, type SealedTable } from './sealed-tables.ts'
import type { Sealing } from './sealing.ts'

export interface Auditing {
  /** See Store.audit. @throws StorageError STORE_TAMPERED */
  audit(): Promise<void>
  /** See Store.fault. */
  readonly fault: StorageError | undefined
  /**
   * Resolves if `fault` is undefined. Otherwise, audits again, because a process that runs no
   * regular audits would keep `fault` even after the store was repaired.
   * @throws StorageError `fault`
   */
  clear(): Promise<void>
  /**
   * Resolves to the result of `work`. An error that shows tampering is stored as `fault` until an
   * audit passes.
   */
  judged<T>(work: Promise<T>): Promise<T>
  close(): Promise<void>
}

/**
 * Audits run on a separate thread. Small stores on a server are an exception, because the thread
 * would need another connection.
 */
export function createAuditing({
  place,
  database,
  keyring,
  onFault,
}: {
  readonly place: StorePlace
  readonly database: Database
  readonly keyring: Keyring
  /** Called with each new value of `fault`. */
  readonly onFault?: ((fault: StorageError | undefined) => void) | undefined
}): Auditing {
  const { sealing } = keyring
  const thread = createAuditThread(place)
  let fault: StorageError | undefined
  let running: Promise<void> | undefined
  let endedAt = -Infinity

  function setFault(next: StorageError | undefined): void {
    if (next === fault) return
    fault = next
    onFault?.(next)
  }

  async function judged<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      if (isFault(error)) setFault(error)
      throw error
    }
  }

  async function isDoneHere(): Promise<boolean> {
    if (place.postgres === undefined) return false
    return database.snapshot(async (reader) => {
      await database.checkSchema(reader)
      return verifyFew(reader, sealing)
    })
  }

  /** Retries an audit that failed because the store key was replaced while it ran. */
  async function runOnThread(): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      const { generation } = keyring
      try {
        await thread.run(keyring.keys)
        return
      } catch (error) {
        if (!isTampered(error)) throw error
        const snapshot: Database['snapshot'] = (work) => database.snapshot(work)
        if (!(await hasNewKeys(error, generation, snapshot, keyring))) throw error
        if (attempt === MAX_ATTEMPTS) throw new KeyChange()
      }
    }
  }

  async function run(): Promise<void> {
    await judged(isDoneHere().then((isDone) => (isDone ? undefined : runOnThread())))
    setFault(undefined)
  }

  /** Audits never overlap: a call during an audit starts another one after it. */
  function audit(): Promise<void> {
    const next = (running ?? Promise.resolve()).catch(() => undefined).then(run)
    running = next
    return next.finally(() => {
      endedAt = clock.monotonic()
      if (running === next) running = undefined
    })
  }

  return {
    judged,
    get fault() {
      return fault
    },
    audit,
    async clear() {
      if (fault === undefined) return
      if (running === undefined && clock.monotonic() < endedAt + CLEAR_AFTER_MS) throw fault
      await (running ?? audit())
    },
    close: thread.close,
  }
}

/**
 * Reports whether the error indicates tampering. It does if a record that every store has is
 * missing: otherwise, an attacker could delete such a record to keep servers running. It does not
 * if a key cannot be loaded, because that is temporary; until then, servers do not renew their
 * lease (Store.missingKey).
 */
function isFault(error: unknown): error is StorageError {
  if (!(error instanceof StorageError)) return false
  return ['STORE_TAMPERED', 'STORE_CORRUPT'].includes(error.code)
}

/** Pause in milliseconds between an audit and the next one that a feed requests. */
const CLEAR_AFTER_MS = 1000

/**
 * Maximum number of audits per call. An audit is repeated only if the keys changed while it ran.
 */
const MAX_ATTEMPTS = 3

/**
 * Every command fully verifies a store of up to this many rows. In a larger store, commands verify
 * tables when they read them, and servers audit everything.
 */
const FEW_ROWS = 2000

/**
 * Verifies everything if the store is small; otherwise only the `facts` table.
 * @returns whether everything was verified
 * @throws StorageError STORE_TAMPERED
 */
export async function verifyFew(reader: Reader, sealing: Sealing): Promise<boolean> {
  const state = await readState(reader, sealing)
  const rows = [...state.tables.values()].reduce((sum, table) => sum + table.rows, 0)
  const isFew = rows <= FEW_ROWS
  const tables = isFew ? SEALED_TABLES : [FACTS]
  for (const table of tables) await verifyTable(reader, sealing, table, state)
  return isFew
}

/**
 * Verifies those of the tables that have few rows, so that part of such a table can be shown without
 * loading it through `Store.tables`. In larger tables, only the audits of the servers notice missing
 * and outdated rows.
 * @param reader must also read what is shown, because the result holds only for its snapshot
 * @throws StorageError STORE_TAMPERED
 */
export async function verifySmallTables(
  reader: Reader,
  sealing: Sealing,
  tables: readonly SealedTable[],
): Promise<void> {
  const state = await readState(reader, sealing)
  for (const table of tables) {
    const rows = state.tables.get(table.name)?.rows ?? 0
    if (rows <= FEW_ROWS) await verifyTable(reader, sealing, table, state)
  }
}
