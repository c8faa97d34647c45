/** Every use of the kill switch, for ever: rows chained by their codes, so that none can go missing. */
// SPDX-License-Identifier: Apache-2.0
import { toAsciiJson } from '../core/remark.ts'
import { StorageError, type Reader, type Row, type Transaction } from './database.ts'
import { column, EVENTS_HEAD, findFact, writeFact } from './sealed-rows.ts'
import type { Sealing } from './sealing.ts'

export interface ControlEvent {
  readonly seq: number
  /** Wall time, milliseconds since the Unix epoch. */
  readonly at: number
  /** Of the store after the change. */
  readonly epoch: number
  /** `kill`, `restore`, `deadman-renewed`, … */
  readonly kind: string
  /** Who says to have done it. */
  readonly operator: string
  readonly detail: Readonly<Record<string, unknown>>
}

const START = 'start'

function authenticate(sealing: Sealing, before: string, row: Row): string {
  const fields = ['seq', 'at', 'epoch', 'kind', 'operator', 'detail'].map((name) =>
    column(row, name),
  )
  return sealing.authenticate(['control_events', before, ...fields])
}

/** To be called inside `Store.change`, which seals the end of the chain with everything else. */
export async function appendEvent(
  transaction: Transaction,
  sealing: Sealing,
  event: Omit<ControlEvent, 'seq'>,
): Promise<ControlEvent> {
  const [last] = await transaction.query('SELECT max(seq) AS seq FROM control_events')
  const seq = Number(last?.['seq'] ?? 0) + 1
  const { at, epoch, kind, operator } = event
  const row = { seq, at, epoch, kind, operator, detail: toAsciiJson(event.detail) }
  const mac = authenticate(sealing, (await findFact(transaction, EVENTS_HEAD)) ?? START, row)
  await transaction.execute(
    'INSERT INTO control_events (seq, at, epoch, kind, operator, detail, mac) VALUES (?, ?, ?, ?, ?, ?, ?)',
    [seq, at, epoch, kind, operator, row.detail, mac],
  )
  await writeFact(transaction, EVENTS_HEAD, mac)
  return { ...event, seq }
}

/** All of them, oldest first. @throws StorageError STORE_TAMPERED when one was changed or is missing */
export async function readEvents(
  reader: Reader,
  sealing: Sealing,
): Promise<readonly ControlEvent[]> {
  const rows = await reader.query(
    'SELECT seq, at, epoch, kind, operator, detail, mac FROM control_events ORDER BY seq',
  )
  let before = START
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
  if (((await findFact(reader, EVENTS_HEAD)) ?? START) !== before) throw broken()
  return events
}

function broken(): StorageError {
  return new StorageError('STORE_TAMPERED', 'events were changed or removed outside of Latchkey')
}
