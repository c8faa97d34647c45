/**
 * The state contains the expected sums over the sealed rows at one epoch: for each table, its
 * row count and the sum of its rows' elements. The state is one sealed record, so the cost of a
 * change does not depend on the number of rows. docs/internals/store.md explains what the state
 * proves, and what requires a full audit.
 */
// SPDX-License-Identifier: Apache-2.0
import { type ExpectedQuery, StorageError, type Reader, type Transaction } from './database.ts'
import { writeFacts } from './facts.ts'
import type { Sealing } from './sealing.ts'

export interface TableSum {
  readonly rows: number
  /** Sum of the rows' elements, below 2^256. */
  readonly sum: bigint
}

export interface SealedState {
  readonly epoch: number
  /** Random for each epoch, so that diverging histories of a store have different states. */
  readonly tag: string
  readonly tables: ReadonlyMap<string, TableSum>
  /** The last event in the chain (event-log.ts). */
  readonly events: EventsEnd
}

export interface EventsEnd {
  readonly seq: number
  readonly head: string
  /**
   * The Merkle tree over the events (core/tlog/frontier.ts), with its hashes in Base64. Absent
   * after a change by an earlier release, which does not maintain it.
   */
  readonly frontier?: readonly string[]
}

export const NO_ROWS: TableSum = { rows: 0, sum: 0n }
const MODULUS = 2n ** 256n
/**
 * An epoch must fit both a JavaScript number and an SQL integer, with room for all future changes.
 */
export const MAX_EPOCH = 2 ** 52

export function addElement({ rows, sum }: TableSum, element: bigint): TableSum {
  return { rows: rows + 1, sum: (sum + element) % MODULUS }
}

/** Adds the sum of the elements of several rows. */
export function addRows(to: TableSum, rows: number, sum: bigint): TableSum {
  return { rows: to.rows + rows, sum: (to.sum + sum) % MODULUS }
}

export function subtractElement({ rows, sum }: TableSum, element: bigint): TableSum {
  return { rows: rows - 1, sum: (sum - element + MODULUS) % MODULUS }
}

/** @throws StorageError STORE_TAMPERED if the epoch and the state are not from the same moment */
export async function readState(reader: Reader, sealing: Sealing): Promise<SealedState> {
  const { epoch: text, state: wrapped } = await readPair(reader)
  const epoch = Number(text)
  const { tag, tables, events } = JSON.parse(
    sealing.unwrap(contextOf(epoch), wrapped).toString('utf8'),
  ) as StateRecord
  return {
    epoch,
    tag,
    tables: new Map(
      Object.entries(tables).map(([name, [rows, sum]]) => [name, { rows, sum: BigInt(sum) }]),
    ),
    events,
  }
}

/** The sealed plaintext. The cast is safe, because only `writeState` can have sealed it. */
interface StateRecord {
  readonly tag: string
  readonly tables: Readonly<Record<string, readonly [rows: number, sum: string]>>
  readonly events: SealedState['events']
}

export async function writeState(
  transaction: Transaction,
  sealing: Sealing,
  state: SealedState,
): Promise<void> {
  const { epoch, tag, events } = state
  const tables = Object.fromEntries(
    [...state.tables].map(
      ([name, { rows, sum }]) => [name, [rows, `0x${sum.toString(16)}`]] as const,
    ),
  )
  const record: StateRecord = { tag, tables, events }
  // The state is encrypted as well as authenticated, because an observer of the changing sums could
  // otherwise compute the elements of individual rows.
  const wrapped = sealing.wrap(contextOf(epoch), Buffer.from(JSON.stringify(record), 'utf8'))
  await writeFacts(transaction, { epoch: String(epoch), state: wrapped })
  const written = await readPair(transaction)
  if (written.state !== wrapped || written.epoch !== String(epoch)) throw notWritten('facts state')
}

/** The query of `readState`. */
export const STATE_RECORDS: ExpectedQuery = {
  sql: "SELECT name, value FROM facts WHERE name IN ('epoch', 'state') ORDER BY name",
  parameters: [],
}

/** @throws StorageError STORE_CORRUPT */
async function readPair(reader: Reader): Promise<{ epoch: string; state: string }> {
  const rows = await reader.query(STATE_RECORDS.sql)
  const [epoch, state] = rows.map((row) => row['value'])
  if (rows.length === 2 && typeof epoch === 'string' && typeof state === 'string') {
    return { epoch, state }
  }
  throw new StorageError(
    'STORE_CORRUPT',
    'the store lacks the required fact "epoch" or "state": the database was damaged or changed',
  )
}

/**
 * Returns the error for a stored value that differs from the value that was written: something in
 * the database is modifying Latchkey's writes.
 */
export function notWritten(what: string): StorageError {
  return new StorageError(
    'STORE_TAMPERED',
    `the database does not contain what was written: ${what}`,
  )
}

function contextOf(epoch: number) {
  if (!Number.isSafeInteger(epoch) || epoch < 0 || epoch > MAX_EPOCH) {
    throw new StorageError('STORE_TAMPERED', `${String(epoch)} is not a valid epoch`)
  }
  return ['state', epoch]
}
