/**
 * The change feed returns everything written to sealed tables since the last read, with proof of
 * completeness. The last verified sum, adjusted by the elements of the changed rows, must equal the
 * sum in the current state (sealed-state.ts). Otherwise the tables are reread and verified in full.
 */
// SPDX-License-Identifier: Apache-2.0
import { forEachInSlices } from '../core/slices.ts'
import type { Database, ExpectedQuery, Reader, Row, SqlValue } from './database.ts'
import { Elements } from './elements.ts'
import { ELEMENT_BYTES, toNumber, type VerifiedRows } from './row-codes/row-codes.ts'
import { expectPage, readPages, TURN_ROWS } from './row-pages.ts'
import { column, notWhole, verifyRows } from './sealed-rows.ts'
import { REMOVED_ROWS, type SealedTable } from './sealed-tables.ts'
import {
  addElement,
  addRows,
  NO_ROWS,
  readState,
  type SealedState,
  STATE_RECORDS,
  subtractElement,
  type TableSum,
} from './sealed-state.ts'
import type { Sealing } from './sealing.ts'

export interface TableChange {
  readonly table: SealedTable
  /** Inserted and updated rows; all rows after a reset. */
  readonly put: readonly Row[]
  /** Primary keys of deleted rows. */
  readonly removed: readonly (readonly SqlValue[])[]
  /**
   * Whether everything read before is invalid. A reset always applies to every table in the feed.
   */
  readonly isReset: boolean
}

/**
 * The last verified state of one table. `elements` holds each row's element of the sum, keyed by
 * the JSON of the row's primary key.
 */
interface Known {
  readonly elements: Elements
  sum: TableSum
}

interface Step {
  readonly change: TableChange
  /** The elements of the changed rows; after a reset, those of all rows. */
  readonly elements: Map<string, bigint> | Elements
  readonly sum: TableSum
}

/** Number of rows recorded in one event-loop turn, which takes well under a millisecond. */
const SLICE = 200

export interface Feed {
  /**
   * Calls `apply` with the changes since the last successful update, one per changed table. The
   * changes count as seen once `apply` has resolved. Calls must not overlap.
   * @throws StorageError STORE_TAMPERED
   */
  update(apply: (changes: readonly TableChange[]) => void | Promise<void>): Promise<void>
  /**
   * Reads the changes within the caller's snapshot. They count as seen once `commit` is called.
   * @param state the state that the caller read in the same snapshot; if absent, it is read here
   * @throws StorageError STORE_TAMPERED
   */
  read(reader: Reader, state?: SealedState): Promise<FeedStep>
  /**
   * Returns the queries that the next read sends if only these tables have changed; none if it reads
   * everything.
   */
  expect(...changed: readonly SealedTable[]): readonly ExpectedQuery[]
  /** Makes the next call read everything again. */
  forget(): void
}

export interface FeedStep {
  readonly state: SealedState
  readonly changes: readonly TableChange[]
  commit(): Promise<void>
}

/** @param snapshot runs work on one snapshot of the store */
export function createFeed(
  snapshot: Database['snapshot'],
  sealing: Sealing,
  tables: readonly SealedTable[],
): Feed {
  const known = new Map<string, Known>()
  let epoch = -1
  /** Incremented by `forget`, so that data read before that call is discarded. */
  let generation = 0

  /** Returns undefined if the changes to the tables do not add up to the sums in the state. */
  async function readChanges(reader: Reader, state: SealedState): Promise<Step[] | undefined> {
    const steps: Step[] = []
    for (const table of tables) {
      const before = known.get(table.name)
      const expected = state.tables.get(table.name) ?? NO_ROWS
      if (before === undefined) return undefined
      if (isEqual(before.sum, expected)) continue
      const step = await readTable(reader, table, before, expected)
      if (!isEqual(step.sum, expected)) return undefined
      steps.push(step)
    }
    return steps
  }

  async function readAll(reader: Reader, state: SealedState): Promise<Step[]> {
    const steps: Step[] = []
    for (const table of tables) {
      steps.push(await readWhole(reader, table, state.tables.get(table.name) ?? NO_ROWS))
    }
    return steps
  }

  async function readTable(
    reader: Reader,
    table: SealedTable,
    before: Known,
    expected: TableSum,
  ): Promise<Step> {
    let { sum } = before
    const removed: (readonly SqlValue[])[] = []
    const elements = new Map<string, bigint>()
    const put = await readRows(reader, table, epoch, (page, verified) => {
      for (const [i, row] of page.entries()) {
        const key = keyOf(table, row)
        const element = elementOf(verified, i)
        const old = before.elements.get(key)
        if (old !== undefined) sum = subtractElement(sum, old)
        sum = addElement(sum, element)
        elements.set(key, element)
      }
    })
    if (isEqual(sum, expected) || table.leavesNoRecord === true) {
      return { change: { table, put, removed, isReset: false }, elements, sum }
    }
    const records = await readRows(reader, REMOVED_ROWS, epoch)
    await forEachInSlices(records, TURN_ROWS, (row) => {
      const key = String(column(row, 'row_key'))
      const old = before.elements.get(key)
      // Skips a row that was deleted and reinserted, because it is in the table, and a row that was
      // added and removed between two reads, because it was never known.
      if (column(row, 'table_name') !== table.name || old === undefined || elements.has(key)) return
      sum = subtractElement(sum, old)
      removed.push(JSON.parse(key) as SqlValue[])
    })
    return { change: { table, put, removed, isReset: false }, elements, sum }
  }

  async function readWhole(reader: Reader, table: SealedTable, expected: TableSum): Promise<Step> {
    let sum = NO_ROWS
    const elements = new Elements()
    const put = await readRows(reader, table, undefined, (page, verified) => {
      sum = addRows(sum, page.length, verified.sum)
      elements.append(
        page.map((row) => keyOf(table, row)),
        verified.elements,
      )
    })
    if (!isEqual(sum, expected)) throw notWhole(table)
    return { change: { table, put, removed: [], isReset: true }, elements, sum }
  }

  /** Reads in pages, so that no event-loop turn verifies many rows. */
  async function readRows(
    reader: Reader,
    table: SealedTable,
    since: number | undefined,
    take?: (page: readonly Row[], verified: VerifiedRows) => void,
  ): Promise<readonly Row[]> {
    const rows: Row[] = []
    await readPages(reader, table, { since }, (page) => {
      const verified = verifyRows(sealing, table, page)
      take?.(page, verified)
      for (const row of page) rows.push(row)
    })
    return rows
  }

  async function read(reader: Reader, known?: SealedState): Promise<FeedStep> {
    const readIn = generation
    const state = known ?? (await readState(reader, sealing))
    const steps = (await readChanges(reader, state)) ?? (await readAll(reader, state))
    return {
      state,
      changes: steps.map(({ change }) => change),
      async commit() {
        for (const step of steps) {
          if (readIn !== generation) return
          await commit(step)
        }
        epoch = state.epoch
      },
    }
  }

  return {
    async update(apply) {
      // Most epochs, such as those of kills, change none of these tables.
      const expected = known.size === 0 ? [] : [STATE_RECORDS]
      const { changes, commit } = await snapshot((reader) => read(reader), expected)
      if (changes.length > 0) await apply(changes)
      await commit()
    },
    read,
    expect: (...changed) =>
      known.size === 0 ? [] : changed.map((table) => expectPage(table, epoch)),
    forget() {
      generation += 1
      known.clear()
    },
  }

  async function commit({ change, elements, sum }: Step): Promise<void> {
    const { table, removed } = change
    const before = known.get(table.name)
    if (elements instanceof Elements) {
      known.set(table.name, { elements, sum })
      return
    }
    if (before === undefined) return
    await forEachInSlices(elements, SLICE, ([key, element]) => {
      before.elements.set(key, element)
    })
    await forEachInSlices(removed, SLICE, (key) => {
      before.elements.delete(JSON.stringify(key))
    })
    before.sum = sum
  }
}

function elementOf({ elements }: VerifiedRows, i: number): bigint {
  return toNumber(elements.subarray(i * ELEMENT_BYTES, (i + 1) * ELEMENT_BYTES))
}

function keyOf(table: SealedTable, row: Row): string {
  return JSON.stringify(table.key.map((name) => column(row, name)))
}

function isEqual(a: TableSum, b: TableSum): boolean {
  return a.rows === b.rows && a.sum === b.sum
}
