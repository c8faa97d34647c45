/**
 * The permanent log of store changes. Its rows form a MAC chain, so the removal of any row is
 * detected. The events are also the entries of a Merkle tree, the control log (docs/audit.md),
 * which anyone can verify without the store key.
 */
// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import { toAsciiJson } from '../core/remark.ts'
import { type Json, toCanonicalJson } from '../core/signature.ts'
import { turn } from '../core/slices.ts'
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
  /** Wall time, in milliseconds since the Unix epoch. */
  readonly at: number
  /** The store's epoch after the change. */
  readonly epoch: number
  /** `kill`, `restore`, `deadman-renewed`, … */
  readonly kind: string
  /** The operator name that the caller gave. */
  readonly operator: string
  readonly detail: Readonly<Record<string, unknown>>
}

/** Head of the chain before the first event. */
export const EVENTS_START = 'start'

const COLUMNS = ['seq', 'at', 'epoch', 'kind', 'operator', 'detail']
const SELECT = `SELECT ${COLUMNS.join(', ')}, mac FROM control_events`
const SELECT_FROM = `${SELECT} WHERE seq >= ? ORDER BY seq`
const SELECT_BETWEEN = `${SELECT} WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?`

/** @param before the previous event's MAC */
function fieldsOf(before: string, row: Row): readonly SqlValue[] {
  return ['control_events', before, ...COLUMNS.map((name) => column(row, name))]
}

/** A recorded event with its control log proof, which is valid once the change commits. */
export interface WrittenEvent extends ControlEvent {
  readonly entry: Buffer
  readonly hashes: readonly Buffer[]
  /** The control log up to and including this event. */
  readonly head: TreeHead
}

/** Call inside `Store.change`, which also seals the end of the chain. */
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

/** Records a change to a key or credential in the same transaction. */
export type RecordChange = (
  transaction: SealedTransaction,
  kind: string,
  detail: Readonly<Record<string, unknown>>,
) => Promise<void>

/** @param operator absent for Latchkey's own keys, whose changes are not recorded */
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
 * Loads the tree's frontier. If an earlier release made the last change, there is no frontier and
 * all events are rehashed.
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
 * Returns the events after number `since` (default: all), oldest first.
 * @throws StorageError STORE_TAMPERED if an event was changed or is missing
 */
export async function readEvents(
  reader: Reader,
  sealing: Sealing,
  since = 0,
): Promise<readonly ControlEvent[]> {
  return readChain(reader, sealing, (await readState(reader, sealing)).events, since)
}

/** Returns the number of events and the control log's root hash. */
export async function readEventsHead(reader: Reader, sealing: Sealing): Promise<TreeHead> {
  const { events } = await readState(reader, sealing)
  return { size: events.seq, root: rootOfFrontier(await loadFrontier(reader, sealing, events)) }
}

/** Returns the events after number `since`. A row past the recorded end of the log counts as tampering. */
async function readChain(
  reader: Reader,
  sealing: Sealing,
  end: EventsEnd,
  since = 0,
): Promise<readonly ControlEvent[]> {
  const limit = Math.max(0, end.seq - since) + ONE_TOO_MANY
  const rows = await reader.query(`${SELECT_FROM} LIMIT ?`, [since, limit])
  return verifyChain(rows, { seam: await findSeam(reader, sealing), sealing, end, since }).events
}

/**
 * Extra rows to read: the last skipped event, and one row past the end, whose presence is an error.
 */
const ONE_TOO_MANY = 2

interface ChainPart {
  readonly seam: Rekey['events']
  readonly sealing: Sealing
  readonly end: EventsEnd
  readonly since: number
}

/**
 * @param rows the rows from number `since` to the end
 * @returns the events, and the end of the chain before them
 */
function verifyChain(
  rows: readonly Row[],
  { seam, sealing, end, since }: ChainPart,
): { readonly events: readonly ControlEvent[]; readonly previous: EventsEnd } {
  // Returns the MAC that the next event's MAC covers.
  const codeOf = (row: Row) =>
    column(row, 'seq') === seam?.seq ? seam.before : String(column(row, 'mac'))
  // The chain continues from the MAC of the last skipped event.
  const skipped = since === 0 ? undefined : rows[0]
  const rest = skipped === undefined ? rows : rows.slice(1)
  if (skipped !== undefined && column(skipped, 'seq') !== since) throw broken()
  const first = skipped === undefined ? EVENTS_START : codeOf(skipped)
  let before = first
  const events = rest.map((row, i) => {
    const isNext =
      sealing.isAuthentic(fieldsOf(before, row), column(row, 'mac')) &&
      column(row, 'seq') === since + i + 1
    if (!isNext) throw broken()
    before = codeOf(row)
    return toEvent(row)
  })
  if (end.head !== before || end.seq !== since + rest.length) throw broken()
  return { events, previous: { seq: since, head: first } }
}

/** Number of events that are verified in one turn of the event loop. */
const PORTION_EVENTS = 256

/**
 * Yields the log from its end, in portions; within a portion, the oldest event comes first. Other
 * work runs between portions. Events before the last portion that the caller takes are not read.
 * @throws StorageError STORE_TAMPERED if one of the events read was changed or is missing
 */
export async function* readBackwards(
  reader: Reader,
  sealing: Sealing,
): AsyncGenerator<readonly ControlEvent[], void, undefined> {
  const seam = await findSeam(reader, sealing)
  let { events: end } = await readState(reader, sealing)
  for (let last = Number.MAX_SAFE_INTEGER; end.seq > 0; last = end.seq) {
    const since = Math.max(0, end.seq - PORTION_EVENTS)
    const rows = await reader.query(SELECT_BETWEEN, [since, last, PORTION_EVENTS + ONE_TOO_MANY])
    const { events, previous } = verifyChain(rows, { seam, sealing, end, since })
    yield events
    end = previous
    await turn()
  }
}

/** Returns the last event that has its new MAC during a rekey; undefined if there is none. */
async function findSeam(reader: Reader, sealing: Sealing): Promise<Rekey['events']> {
  const [row] = await selectRows(reader, sealing, FACTS, { name: REKEY })
  return row === undefined ? undefined : (JSON.parse(String(column(row, 'value'))) as Rekey).events
}

/**
 * Re-authenticates the next batch of events after the seam, which is the last event that already
 * has its new MAC. Uses the key that `sealing` seals with. Call inside `Store.change`.
 * @returns the new seam; undefined once all events have a new MAC
 */
export async function recodeEvents(
  transaction: SealedTransaction,
  { sealing, seam, limit }: Recoding,
): Promise<Rekey['events']> {
  const { ledger } = transaction
  const done = seam ?? { seq: 0, before: EVENTS_START }
  const rows = await transaction.query(`${SELECT_FROM} LIMIT ?`, [done.seq, limit + 1])
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
  /** Maximum number of events per change. */
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

/** c2sp.org/tlog-tiles encodes an entry's length as a uint16. */
const MAX_ENTRY_BYTES = 65_535

/**
 * Returns an event as a control log entry: canonical JSON (RFC 8785). Details that are too long for
 * an entry, such as a very large fleet's receipt, are replaced by their hash.
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
