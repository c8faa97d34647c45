/**
 * The permanent log of every use of the kill switch. Codes chain its rows, so that none can be
 * removed unnoticed.
 */
// SPDX-License-Identifier: Apache-2.0
import { toAsciiJson } from '../core/remark.ts'
import { StorageError, type Reader, type Row } from './database.ts'
import { column } from './sealed-rows.ts'
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

function authenticate(sealing: Sealing, before: string, row: Row): string {
  const fields = ['seq', 'at', 'epoch', 'kind', 'operator', 'detail'].map((name) =>
    column(row, name),
  )
  return sealing.authenticate(['control_events', before, ...fields])
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
  const mac = authenticate(sealing, ledger.events.head, row)
  await transaction.execute(
    'INSERT INTO control_events (seq, at, epoch, kind, operator, detail, mac) VALUES (?, ?, ?, ?, ?, ?, ?)',
    [seq, at, epoch, kind, operator, row.detail, mac],
  )
  const [written] = await transaction.query('SELECT * FROM control_events WHERE seq = ?', [seq])
  if (written === undefined || authenticate(sealing, ledger.events.head, written) !== mac) {
    throw notWritten(`control_events ${String(seq)}`)
  }
  ledger.events = { seq, head: mac }
  return { ...event, seq }
}

/**
 * Returns all events, oldest first.
 * @throws StorageError STORE_TAMPERED when one was changed or is missing
 */
export async function readEvents(
  reader: Reader,
  sealing: Sealing,
): Promise<readonly ControlEvent[]> {
  const { events: end } = await readState(reader, sealing)
  const rows = await reader.query(
    'SELECT seq, at, epoch, kind, operator, detail, mac FROM control_events ORDER BY seq',
  )
  let before = EVENTS_START
  const events = rows.map((row, i) => {
    const mac = authenticate(sealing, before, row)
    if (column(row, 'mac') !== mac || column(row, 'seq') !== i + 1) throw broken()
    before = mac
    return {
      seq: i + 1,
      at: Number(column(row, 'at')),
      epoch: Number(column(row, 'epoch')),
      kind: String(column(row, 'kind')),
      operator: String(column(row, 'operator')),
      detail: JSON.parse(String(column(row, 'detail'))) as Record<string, unknown>,
    }
  })
  if (end.head !== before || end.seq !== rows.length) throw broken()
  return events
}

function broken(): StorageError {
  return new StorageError('STORE_TAMPERED', 'events were changed or removed outside of Latchkey')
}
