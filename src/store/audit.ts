/** Verifies a store repeatedly, and remembers why it cannot be trusted. */
// SPDX-License-Identifier: Apache-2.0
import { createAuditThread } from './audit-thread.ts'
import { type Database, type Reader, StorageError } from './database.ts'
import type { StorePlace } from './engine.ts'
import type { Keyring } from './keyring.ts'
import { verifyTable } from './sealed-rows.ts'
import { readState } from './sealed-state.ts'
import { FACTS, SEALED_TABLES } from './sealed-tables.ts'
import type { Sealing } from './sealing.ts'

export interface Auditing {
  /** See Store.audit. @throws StorageError STORE_TAMPERED */
  audit(): Promise<void>
  /** See Store.fault. */
  readonly fault: StorageError | undefined
  /** Remembers why the store cannot be trusted, until an audit passes. */
  judged<T>(work: Promise<T>): Promise<T>
  close(): Promise<void>
}

/** Audits run on a thread, except for small stores on a server, where that costs a connection. */
export function createAuditing(place: StorePlace, database: Database, keyring: Keyring): Auditing {
  const { sealing } = keyring
  const thread = createAuditThread(place)
  let fault: StorageError | undefined

  async function judged<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      if (error instanceof StorageError && error.code === 'STORE_TAMPERED') fault = error
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

  /** Repeats an audit that failed because the store key was replaced in the meantime. */
  async function runOnThread(): Promise<void> {
    try {
      await thread.run(keyring.keys)
    } catch (error) {
      const isTampered = error instanceof StorageError && error.code === 'STORE_TAMPERED'
      if (!isTampered || !(await database.snapshot((reader) => keyring.refresh(reader))))
        throw error
      await thread.run(keyring.keys)
    }
  }

  return {
    judged,
    get fault() {
      return fault
    },
    async audit() {
      await judged(isDoneHere().then((isDone) => (isDone ? undefined : runOnThread())))
      fault = undefined
    },
    close: thread.close,
  }
}

/**
 * Each command also verifies up to this many rows. Larger tables are verified by their readers, and
 * by servers.
 */
const FEW_ROWS = 2000

/**
 * Verifies everything if the store is small; otherwise only the facts.
 * @returns whether it verified everything
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
