/**
 * The change feed: everything written to sealed tables since the last read, proven to be complete.
 * The elements of the changed rows must lead from the sum that was last verified to the sum of the
 * state (sealed-state.ts); if they do not, the tables are read and verified completely.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Reader, Row, SqlValue } from './database.ts'
import { column, notWhole, PAGE, queryPage, verifyRow } from './sealed-rows.ts'
import { REMOVED_ROWS, type SealedTable } from './sealed-tables.ts'
import {
  addElement,
  NO_ROWS,
  readState,
  type SealedState,
  subtractElement,
  type TableSum,
} from './sealed-state.ts'
import type { Sealing } from './sealing.ts'

export interface TableChange {
  readonly table: SealedTable
  /** Rows that were inserted or updated; all rows after a reset. */
  readonly put: readonly Row[]
  /** Primary keys of rows that were deleted. */
  readonly removed: readonly (readonly SqlValue[])[]
  /** If true, everything read before is void. It is then true for every table of the feed. */
  readonly isReset: boolean
}

/**
 * Rows of one table by the JSON of their primary keys, each with the element that it adds to the
 * sum.
 */
interface Known {
  readonly elements: Map<string, bigint>
  sum: TableSum
}

interface Step {
  readonly change: TableChange
  readonly elements: ReadonlyMap<string, bigint>
  readonly sum: TableSum
}

export interface Feed {
  /**
   * Passes the changes since the last successful call to `apply`, one for each table that changed.
   * They count as seen once `apply` has resolved. Calls must not overlap.
   * @throws StorageError STORE_TAMPERED
   */
  update(apply: (changes: readonly TableChange[]) => void | Promise<void>): Promise<void>
  /**
   * Reads the changes within a snapshot of the caller. They count as seen once `commit` is called.
   * @param state what the caller has read of the same snapshot (default: read it)
   * @throws StorageError STORE_TAMPERED
   */
  read(reader: Reader, state?: SealedState): Promise<FeedStep>
  /** The next call reads everything again. */
  forget(): void
}

export interface FeedStep {
  readonly state: SealedState
  readonly changes: readonly TableChange[]
  commit(): void
}

/** @param snapshot runs work on one snapshot of the store */
export function createFeed(
  snapshot: <T>(work: (reader: Reader) => Promise<T>) => Promise<T>,
  sealing: Sealing,
  tables: readonly SealedTable[],
): Feed {
  const known = new Map<string, Known>()
  let epoch = -1

  /** Returns undefined if the changes do not lead to the sums of the state. */
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
    const put = await readRows(reader, table, epoch, (row, element) => {
      const key = keyOf(table, row)
      const old = before.elements.get(key)
      if (old !== undefined) sum = subtractElement(sum, old)
      sum = addElement(sum, element)
      elements.set(key, element)
    })
    if (isEqual(sum, expected) || table.leavesNoRecord === true) {
      return { change: { table, put, removed, isReset: false }, elements, sum }
    }
    await readRows(reader, REMOVED_ROWS, epoch, (row) => {
      const key = String(column(row, 'row_key'))
      const old = before.elements.get(key)
      // A row that was inserted again is in the table, and a row that was added and removed in
      // between was never known.
      if (column(row, 'table_name') !== table.name || old === undefined || elements.has(key)) return
      sum = subtractElement(sum, old)
      removed.push(JSON.parse(key) as SqlValue[])
    })
    return { change: { table, put, removed, isReset: false }, elements, sum }
  }

  async function readWhole(reader: Reader, table: SealedTable, expected: TableSum): Promise<Step> {
    let sum = NO_ROWS
    const elements = new Map<string, bigint>()
    const put = await readRows(reader, table, undefined, (row, element) => {
      sum = addElement(sum, element)
      elements.set(keyOf(table, row), element)
    })
    if (!isEqual(sum, expected)) throw notWhole(table)
    return { change: { table, put, removed: [], isReset: true }, elements, sum }
  }

  /** Reads in pages, so that no turn of the event loop verifies many rows. */
  async function readRows(
    reader: Reader,
    table: SealedTable,
    since: number | undefined,
    take: (row: Row, element: bigint) => void,
  ): Promise<readonly Row[]> {
    const rows: Row[] = []
    let page: readonly Row[]
    do {
      page = await queryPage(reader, table, rows.at(-1), { since })
      for (const row of page) {
        take(row, verifyRow(sealing, table, row).element)
        rows.push(row)
      }
    } while (page.length === PAGE)
    return rows
  }

  async function read(reader: Reader, known?: SealedState): Promise<FeedStep> {
    const state = known ?? (await readState(reader, sealing))
    const steps = (await readChanges(reader, state)) ?? (await readAll(reader, state))
    return {
      state,
      changes: steps.map(({ change }) => change),
      commit() {
        for (const { change, elements, sum } of steps) commit(change, elements, sum)
        epoch = state.epoch
      },
    }
  }

  return {
    async update(apply) {
      const { changes, commit } = await snapshot((reader) => read(reader))
      if (changes.length > 0) await apply(changes)
      commit()
    },
    read,
    forget() {
      known.clear()
    },
  }

  function commit(
    { table, removed, isReset }: TableChange,
    elements: Step['elements'],
    sum: TableSum,
  ) {
    const before = known.get(table.name)
    if (isReset || before === undefined) {
      known.set(table.name, { elements: new Map(elements), sum })
      return
    }
    for (const [key, element] of elements) before.elements.set(key, element)
    for (const key of removed) before.elements.delete(JSON.stringify(key))
    before.sum = sum
  }
}

function keyOf(table: SealedTable, row: Row): string {
  return JSON.stringify(table.key.map((name) => column(row, name)))
}

function isEqual(a: TableSum, b: TableSum): boolean {
  return a.rows === b.rows && a.sum === b.sum
}
