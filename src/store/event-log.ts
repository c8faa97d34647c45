/**
 * The permanent log of changes of the store. Codes chain its rows, so that none can be removed
 * unnoticed. The events are also the entries of a Merkle tree, the control log (docs/audit.md),
 * which others can verify without the key of the store.
 */
// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { toAsciiJson } from '../core/remark.ts'
import { type Json, toCanonicalJson } from '../core/signature.ts'
import {
  appendToFrontier,
  type Frontier,
  proveLast,
  rootOfFrontier,
} from '../core/tlog/frontier.ts'
import { hashLeaf, type TreeHead } from '../core/tlog/merkle.ts'
import { StorageError, type Reader, type Row, type SqlValue } from './database.ts'
import { REKEY, type Rekey } from './keyring.ts'
import { column, selectRows } from './sealed-rows.ts'
import { FACTS } from './sealed-tables.ts'
import { type EventsEnd, notWritten, readState } from './sealed-state.ts'
import type { SealedTransaction } from './sealed-transaction.ts'
import type { Sealing } from './sealing.ts'

export interface ControlEvent {
  readonly seq: number
  /** Wall time, milliseconds since the Unix epoch. */
  readonly at: number
  /** Epoch of the store after the change. */
  readonly epoch: number
  /** `kill`, `restore`, `deadman-renewed`, … */
  readonly kind: string
  /** The operator as named by the caller. */
  readonly operator: string
  readonly detail: Readonly<Record<string, unknown>>
}

/** Head of the chain before the first event. */
export const EVENTS_START = 'start'

const COLUMNS = ['seq', 'at', 'epoch', 'kind', 'operator', 'detail']

/** @param before code of the previous event */
function fieldsOf(before: string, row: Row): readonly SqlValue[] {
  return ['control_events', before, ...COLUMNS.map((name) => column(row, name))]
}

/** An event as it was written, with what proves it in the control log once the change is committed. */
export interface WrittenEvent extends ControlEvent {
  readonly entry: Buffer
  readonly hashes: readonly Buffer[]
  /** The control log up to this event. */
  readonly head: TreeHead
}

/** Call inside `Store.change`, which seals the end of the chain with everything else. */
export async function appendEvent(
  transaction: SealedTransaction,
  sealing: Sealing,
  event: Omit<ControlEvent, 'seq'>,
): Promise<WrittenEvent> {
  const { ledger } = transaction
  const before = await loadFrontier(transaction, sealing, ledger.events)
  const seq = ledger.events.seq + 1
  const { at, epoch, kind, operator } = event
  const row = { seq, at, epoch, kind, operator, detail: toAsciiJson(event.detail) }
  const mac = sealing.authenticate(fieldsOf(ledger.events.head, row))
  await transaction.execute(
    'INSERT INTO control_events (seq, at, epoch, kind, operator, detail, mac) VALUES (?, ?, ?, ?, ?, ?, ?)',
    [seq, at, epoch, kind, operator, row.detail, mac],
  )
  const [written] = await transaction.query('SELECT * FROM control_events WHERE seq = ?', [seq])
  const isWritten =
    written !== undefined && sealing.authenticate(fieldsOf(ledger.events.head, written)) === mac
  if (!isWritten) {
    throw notWritten(`control_events ${String(seq)}`)
  }
  const entry = encodeEvent(toEvent(written))
  const frontier = appendToFrontier(before, seq - 1, hashLeaf(entry))
  ledger.events = { seq, head: mac, frontier: frontier.map((one) => one.toString('base64')) }
  const head = { size: seq, root: rootOfFrontier(frontier) }
  return { ...event, seq, entry, hashes: proveLast(before), head }
}

/** Records a change of a key or credential in the same transaction. */
export type RecordChange = (
  transaction: SealedTransaction,
  kind: string,
  detail: Readonly<Record<string, unknown>>,
) => Promise<void>

/** @param operator absent: records nothing, for keys that Latchkey makes for itself */
export function createChangeRecorder(
  sealing: Sealing,
  clock: Clock,
  operator: string | undefined,
): RecordChange {
  return async (transaction, kind, detail) => {
    if (operator === undefined) return
    const { epoch } = transaction.ledger
    await appendEvent(transaction, sealing, { at: clock.now(), epoch, kind, operator, detail })
  }
}

/**
 * Loads the frontier of the tree. It is missing after a change by an earlier release; then all
 * events are hashed again.
 */
async function loadFrontier(
  reader: Reader,
  sealing: Sealing,
  { seq, head, frontier }: EventsEnd,
): Promise<Frontier> {
  if (seq === 0) return []
  if (frontier !== undefined) return frontier.map((one) => Buffer.from(one, 'base64'))
  let tree: Frontier = []
  const events = await readChain(reader, sealing, { seq, head })
  for (const [i, event] of events.entries()) {
    tree = appendToFrontier(tree, i, hashLeaf(encodeEvent(event)))
  }
  return tree
}

/**
 * Returns the events after number `since`, oldest first; all of them by default. The chain proves
 * that none of them was changed or is missing.
 * @throws StorageError STORE_TAMPERED when one was changed or is missing
 */
export async function readEvents(
  reader: Reader,
  sealing: Sealing,
  since = 0,
): Promise<readonly ControlEvent[]> {
  const { events } = await readState(reader, sealing)
  return readChain(reader, sealing, events, since)
}

/** Events read at first from the end of the log, and the factor by which a further attempt grows. */
const RECENT_EVENTS = 256
const GROWTH = 4

/**
 * Returns the events at or after a time, oldest first, without reading the log from its start. An
 * event of a host whose clock was far behind can hide those before it.
 * @param at wall time, milliseconds since the Unix epoch
 * @throws StorageError STORE_TAMPERED when one of the events read was changed or is missing
 */
export async function readEventsSince(
  reader: Reader,
  sealing: Sealing,
  at: number,
): Promise<readonly ControlEvent[]> {
  const { events: end } = await readState(reader, sealing)
  for (let count = RECENT_EVENTS; ; count *= GROWTH) {
    const skipped = Math.max(0, end.seq - count)
    const events = await readChain(reader, sealing, end, skipped)
    const [oldest] = events
    if (skipped === 0 || oldest === undefined || oldest.at < at) {
      return events.filter((event) => event.at >= at)
    }
  }
}

/** Returns the number of events, and the root of the control log that they form. */
export async function readEventsHead(reader: Reader, sealing: Sealing): Promise<TreeHead> {
  const { events } = await readState(reader, sealing)
  return { size: events.seq, root: rootOfFrontier(await loadFrontier(reader, sealing, events)) }
}

async function readChain(
  reader: Reader,
  sealing: Sealing,
  end: EventsEnd,
  since = 0,
): Promise<readonly ControlEvent[]> {
  const seam = await findSeam(reader, sealing)
  const rows = await reader.query(
    `SELECT seq, at, epoch, kind, operator, detail, mac FROM control_events
     WHERE seq >= ? ORDER BY seq`,
    [since],
  )
  // The code that the event after this one covers.
  const codeOf = (row: Row) =>
    column(row, 'seq') === seam?.seq ? seam.before : String(column(row, 'mac'))
  // The chain continues from the code of the last event that is skipped.
  const skipped = since === 0 ? undefined : rows[0]
  const rest = skipped === undefined ? rows : rows.slice(1)
  if (skipped !== undefined && column(skipped, 'seq') !== since) throw broken()
  let before = skipped === undefined ? EVENTS_START : codeOf(skipped)
  const events = rest.map((row, i) => {
    const isNext =
      sealing.isAuthentic(fieldsOf(before, row), column(row, 'mac')) &&
      column(row, 'seq') === since + i + 1
    if (!isNext) throw broken()
    before = codeOf(row)
    return toEvent(row)
  })
  if (end.head !== before || end.seq !== since + rest.length) throw broken()
  return events
}

/**
 * Returns the position up to which a new store key has authenticated the events again; undefined
 * unless a rekey is in progress.
 */
async function findSeam(reader: Reader, sealing: Sealing): Promise<Rekey['events']> {
  const [row] = await selectRows(reader, sealing, FACTS, { name: REKEY })
  return row === undefined ? undefined : (JSON.parse(String(column(row, 'value'))) as Rekey).events
}

/**
 * Authenticates the next events with the key that `sealing` seals with, from the end of those that
 * already are. Call inside `Store.change`.
 * @returns the new end; undefined once all events have their new code
 */
export async function recodeEvents(
  transaction: SealedTransaction,
  { sealing, seam, limit }: Recoding,
): Promise<Rekey['events']> {
  const { ledger } = transaction
  const done = seam ?? { seq: 0, before: EVENTS_START }
  const rows = await transaction.query(
    `SELECT seq, at, epoch, kind, operator, detail, mac FROM control_events
     WHERE seq >= ? ORDER BY seq LIMIT ?`,
    [done.seq, limit + 1],
  )
  const next = rows.filter((row) => Number(column(row, 'seq')) > done.seq)
  let { before } = done
  let head = rows.length > next.length ? String(column(rows[0] ?? {}, 'mac')) : EVENTS_START
  for (const row of next) {
    const old = String(column(row, 'mac'))
    if (!sealing.isAuthentic(fieldsOf(before, row), old)) throw broken()
    head = sealing.authenticate(fieldsOf(head, row))
    const seq = column(row, 'seq')
    await transaction.execute('UPDATE control_events SET mac = ? WHERE seq = ?', [head, seq])
    before = old
  }
  const seq = done.seq + next.length
  if (seq < ledger.events.seq) return { seq, before }
  if (before !== ledger.events.head) throw broken()
  ledger.events = { ...ledger.events, head }
  return undefined
}

interface Recoding {
  readonly sealing: Sealing
  readonly seam: Rekey['events']
  /** Number of events in one change. */
  readonly limit: number
}

function toEvent(row: Row): ControlEvent {
  return {
    seq: Number(column(row, 'seq')),
    at: Number(column(row, 'at')),
    epoch: Number(column(row, 'epoch')),
    kind: String(column(row, 'kind')),
    operator: String(column(row, 'operator')),
    detail: JSON.parse(String(column(row, 'detail'))) as Record<string, unknown>,
  }
}

/** c2sp.org/tlog-tiles: the length of an entry is a uint16. */
const MAX_ENTRY_BYTES = 65_535

/**
 * Returns an event as an entry of the control log: canonical JSON (RFC 8785). Details that are too long for
 * an entry, such as the receipt of a very large fleet, are represented by their hash.
 */
export function encodeEvent({ seq, at, epoch, kind, operator, detail }: ControlEvent): Buffer {
  const encode = (fields: Readonly<Record<string, Json>>) => {
    const time = new Date(at).toISOString()
    return Buffer.from(
      toCanonicalJson({ kind: 'event', seq, time, epoch, event: kind, operator, ...fields }),
    )
  }
  const entry = encode({ detail: detail as Json })
  if (entry.length <= MAX_ENTRY_BYTES) return entry
  const detailSha256 = hash('sha256', toCanonicalJson(detail as Json), 'hex')
  return encode({ detailSha256 })
}

function broken(): StorageError {
  return new StorageError('STORE_TAMPERED', 'events were changed or removed outside of Latchkey')
}
