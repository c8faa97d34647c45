/** Verifies a store again and again, and remembers why it cannot be trusted. */
// SPDX-License-Identifier: Apache-2.0
import { type Database, type Reader, StorageError } from './database.ts'
import type { Engine } from './engine.ts'
import { followKeys, type Keyring } from './keyring.ts'
import { loadTable, loadTables } from './sealed-rows.ts'
import { FACTS, SEALED_TABLES } from './sealed-tables.ts'
import { readState } from './sealed-state.ts'
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

export function createAuditing(engine: Engine, database: Database, keyring: Keyring): Auditing {
  const { sealing } = keyring
  let fault: StorageError | undefined
  let auditor: Promise<Database> | undefined

  async function judged<T>(work: Promise<T>): Promise<T> {
    try {
      return await work
    } catch (error) {
      if (error instanceof StorageError && error.code === 'STORE_TAMPERED') fault = error
      throw error
    }
  }

  async function openAuditor(): Promise<Database> {
    const own = await engine.openAuditor?.()
    return own === undefined ? database : followKeys(own, keyring)
  }

  return {
    judged,
    get fault() {
      return fault
    },
    async audit() {
      // Uses its own connection where that is cheap, so that a long read blocks nothing else.
      auditor ??= openAuditor()
      try {
        const own = await auditor
        const isSmall = await own.snapshot(async (reader) => {
          await own.checkSchema(reader)
          return verifyFew(reader, sealing)
        })
        // One snapshot per table, so that other work can use a shared connection in between.
        for (const table of isSmall ? [] : SEALED_TABLES) {
          await own.snapshot((reader) => loadTables(reader, sealing, [table]))
        }
        fault = undefined
      } catch (error) {
        await judged(Promise.reject(error as Error)).catch(() => undefined)
        throw error
      }
    },
    async close() {
      const own = await auditor?.catch(() => undefined)
      if (own !== database) await own?.close()
    },
  }
}

/**
 * Each command also verifies up to this many rows. Larger tables are verified by their readers, and
 * by servers.
 */
const FEW_ROWS = 2000

/**
 * Verifies everything if that is little; otherwise only the facts.
 * @returns whether it verified everything
 * @throws StorageError STORE_TAMPERED
 */
export async function verifyFew(reader: Reader, sealing: Sealing): Promise<boolean> {
  const state = await readState(reader, sealing)
  const rows = [...state.tables.values()].reduce((sum, table) => sum + table.rows, 0)
  const isFew = rows <= FEW_ROWS
  const tables = isFew ? SEALED_TABLES : [FACTS]
  for (const table of tables) await loadTable(reader, sealing, table, state)
  return isFew
}
