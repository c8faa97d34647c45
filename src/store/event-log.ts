/**
 * The permanent log of every use of the kill switch. Codes chain its rows, so that none can be
 * removed unnoticed.
 */
// SPDX-License-Identifier: Apache-2.0
import { toAsciiJson } from '../core/remark.ts'
import { StorageError, type Reader, type Row, type SqlValue } from './database.ts'
import { REKEY, type Rekey } from './keyring.ts'
import { column, FACTS, selectRows } from './sealed-rows.ts'
import { notWritten, readState } from './sealed-state.ts'
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

/** Call inside `Store.change`, which seals the end of the chain with everything else. */
export async function appendEvent(
  transaction: SealedTransaction,
  sealing: Sealing,
  event: Omit<ControlEvent, 'seq'>,
): Promise<ControlEvent> {
  const { ledger } = transaction
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
  ledger.events = { seq, head: mac }
  return { ...event, seq }
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
  const { events: end } = await readState(reader, sealing)
  const seam = await findSeam(reader, sealing)
  const rows = await reader.query(
    'SELECT seq, at, epoch, kind, operator, detail, mac FROM control_events WHERE seq >= ? ORDER BY seq',
    [Math.max(1, since)],
  )
  // The event `since` itself is read for its code, which the next one covers.
  const [last] = since === 0 ? [] : rows
  const fresh = since === 0 ? rows : rows.slice(1)
  if (since > 0 && (last === undefined || column(last, 'seq') !== since)) throw broken()
  const headAfter = (seq: number, row: Row) =>
    seam?.seq === seq ? seam.before : String(column(row, 'mac'))
  let before = last === undefined ? EVENTS_START : headAfter(since, last)
  const events = fresh.map((row, i) => {
    const seq = since + i + 1
    const mac = String(column(row, 'mac'))
    const isNext = sealing.isAuthentic(fieldsOf(before, row), mac) && column(row, 'seq') === seq
    if (!isNext) throw broken()
    before = headAfter(seq, row)
    return {
      seq,
      at: Number(column(row, 'at')),
      epoch: Number(column(row, 'epoch')),
      kind: String(column(row, 'kind')),
      operator: String(column(row, 'operator')),
      detail: JSON.parse(String(column(row, 'detail'))) as Record<string, unknown>,
    }
  })
  if (end.head !== before || end.seq !== since + fresh.length) throw broken()
  return events
}

/** The end of the events that a new store key has authenticated again, while it does so. */
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
  ledger.events = { seq, head }
  return undefined
}

interface Recoding {
  readonly sealing: Sealing
  readonly seam: Rekey['events']
  /** Number of events in one change. */
  readonly limit: number
}

function broken(): StorageError {
  return new StorageError('STORE_TAMPERED', 'events were changed or removed outside of Latchkey')
}
