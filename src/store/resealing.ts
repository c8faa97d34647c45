/** Reseals everything in a store with its keyring's current key, in small changes. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'
import { pause } from '../core/deadline.ts'
import { CODED_TABLES, type CodedTable, wrappedColumn } from './bindings.ts'
import { type Reader, type Row, StorageError } from './database.ts'
import { recodeEvents } from './event-log.ts'
import { type Keyring, REKEY, type Rekey } from './keyring.ts'
import { queryPage } from './row-pages.ts'
import { column, isSealedBy, selectRows } from './sealed-rows.ts'
import { FACTS, SEALED_TABLES, type SealedTable } from './sealed-tables.ts'
import { putRow, replaceRow } from './sealed-transaction.ts'
import type { Sealing } from './sealing.ts'
import type { Store } from './store.ts'

/** Identifies one stage of one rekey: every rekey has a different wrapped key. */
type RekeyIdentity = Pick<Rekey, 'phase' | 'other'>

/**
 * Reads the rekey record before a change that continues it. Several processes can run the same
 * rekey, and one of them may have finished it and started the next.
 * @throws StorageError STORE_BUSY if the record is no longer in this stage
 */
export async function readOwnRekey(
  reader: Reader,
  sealing: Sealing,
  { phase, other }: RekeyIdentity,
): Promise<Rekey> {
  const [row] = await selectRows(reader, sealing, FACTS, { name: REKEY })
  if (row === undefined) throw takenOver()
  const now = JSON.parse(String(column(row, 'value'))) as Rekey
  if (now.phase !== phase || now.other !== other) throw takenOver()
  return now
}

export function takenOver(): StorageError {
  return new StorageError('STORE_BUSY', 'another process continued this rekey in the meantime')
}

export interface ResealingDeps {
  readonly store: Store
  readonly keyring: Keyring
  readonly clock: Clock
  /** The rekey that this process is running. */
  readonly rekey: RekeyIdentity
  /** Called after each change with the row count so far. */
  readonly onRows: (rows: number) => void
}

/**
 * Number of rows resealed per change. Each change holds the write lock for tens of milliseconds.
 */
const SLICE = 200
/**
 * Minimum pause in milliseconds after a change. A longer change is followed by an equally long
 * pause, because servers apply each change before they renew their lease.
 */
const LEAST_PAUSE_MS = 100

/**
 * Reseals the rows, secrets and events that an earlier key sealed.
 * @throws StorageError STORE_TAMPERED
 */
export async function resealAll(deps: ResealingDeps): Promise<void> {
  for (const table of SEALED_TABLES) await resealTable(deps, table)
  await resealEvents(deps)
  await recodeTables(deps)
}

/**
 * Reseals the rows that have a MAC but are not part of any sealed sum.
 * @throws StorageError STORE_TAMPERED
 */
export async function recodeTables(deps: ResealingDeps): Promise<void> {
  for (const table of CODED_TABLES) await recodeTable(deps, table)
}

async function resealTable(deps: ResealingDeps, table: SealedTable): Promise<void> {
  const { store, keyring } = deps
  const { database, sealing, id } = store
  const isCurrent = (row: Row) => isSealedBy(keyring.current, table, row)
  let last: Row | undefined
  for (;;) {
    const page = await database.snapshot((reader) => queryPage(reader, table, last))
    if (page.length === 0) return
    last = page.at(-1)
    const old = page.filter((row) => !isCurrent(row))
    if (old.length === 0) continue
    await inTurn(deps, old.length, async () => {
      await store.change(async (transaction) => {
        for (const key of old.map((row) => keyOf(table, row))) {
          const [row] = await selectRows(transaction, sealing, table, key)
          if (row === undefined || isCurrent(row)) continue
          await replaceRow(transaction, sealing, table, row, rewrap(sealing, table, row, id))
        }
      })
    })
  }
}

function keyOf(table: SealedTable, row: Row): Row {
  return Object.fromEntries(table.key.map((name) => [name, column(row, name)]))
}

/** Rewraps a row's secret, if it has one. */
export function rewrap(sealing: Sealing, table: SealedTable, row: Row, storeId: string): Row {
  const wrapped = wrappedColumn(table, row, storeId)
  if (wrapped === undefined) return row
  const { name, context } = wrapped
  const secret = sealing.unwrap(context, String(column(row, name)))
  try {
    return { ...row, [name]: sealing.wrap(context, secret) }
  } finally {
    secret.fill(0)
  }
}

async function resealEvents(deps: ResealingDeps): Promise<void> {
  const { store } = deps
  const { sealing } = store
  /**
   * Reseals the next batch of events.
   * @returns whether more events remain
   */
  async function next(): Promise<boolean> {
    const after = await store.change(async (transaction) => {
      const { events: seam, ...rekey } = await readOwnRekey(transaction, sealing, deps.rekey)
      const events = await recodeEvents(transaction, { sealing, seam, limit: SLICE })
      const value = JSON.stringify(events === undefined ? rekey : { ...rekey, events })
      await putRow(transaction, sealing, FACTS, { name: REKEY, value })
      return events
    })
    return after !== undefined
  }
  while (await inTurn(deps, SLICE, next));
}

async function recodeTable(deps: ResealingDeps, table: CodedTable): Promise<void> {
  const { name, key, columns, fields } = table
  const { database, sealing } = deps.store
  const order = key.join(', ')
  const where = key.map((one) => `${one} = ?`).join(' AND ')
  let last: Row | undefined
  for (;;) {
    const after = last === undefined ? '' : `WHERE (${order}) > (${key.map(() => '?').join(', ')})`
    const page = await database.snapshot(async (reader) => {
      // Check the rekey record first, so that rows sealed with a later key do not look like outside
      // tampering.
      await readOwnRekey(reader, sealing, deps.rekey)
      return reader.query(
        `SELECT ${[...key, ...columns, 'mac'].join(', ')} FROM ${name} ${after}
         ORDER BY ${order} LIMIT ${String(SLICE)}`,
        key.flatMap((one) => (last === undefined ? [] : [column(last, one)])),
      )
    })
    if (page.length === 0) return
    last = page.at(-1)
    const isUnder = (one: Sealing) => (row: Row) => one.isAuthentic(fields(row), column(row, 'mac'))
    const isCurrent = isUnder(deps.keyring.current)
    const isGenuine = isUnder(sealing)
    const old = page.filter(
      (row) => !isCurrent(row) && (isGenuine(row) || table.isRepaired !== true),
    )
    if (old.length === 0) continue
    if (!old.every(isGenuine)) {
      throw new StorageError('STORE_TAMPERED', `a row was changed outside of Latchkey: ${name}`)
    }
    await inTurn(deps, old.length, async () => {
      await database.transaction(async (transaction) => {
        await deps.keyring.refresh(transaction)
        await readOwnRekey(transaction, sealing, deps.rekey)
        for (const row of old) {
          // The update requires the old MAC, so it skips a row that was written in the meantime. Such a
          // row already has its new MAC, or the next pass finds it.
          await transaction.execute(`UPDATE ${name} SET mac = ? WHERE ${where} AND mac = ?`, [
            sealing.authenticate(fields(row)),
            ...key.map((one) => column(row, one)),
            column(row, 'mac'),
          ])
        }
      })
    })
  }
}

async function inTurn<T>(
  { clock, onRows }: ResealingDeps,
  rows: number,
  work: () => Promise<T>,
): Promise<T> {
  const startedAt = clock.monotonic()
  const result = await work()
  onRows(rows)
  await pause(Math.max(LEAST_PAUSE_MS, clock.monotonic() - startedAt))
  return result
}
