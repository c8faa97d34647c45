/**
 * A webhook's position in the event log, kept in the control store. One instance at a time claims
 * the webhook, sends the events that follow, and advances the position.
 */
// SPDX-License-Identifier: Apache-2.0
import { webhookFields } from '../../store/bindings.ts'
import type { Row, SqlValue } from '../../store/database.ts'
import { column } from '../../store/sealed-rows.ts'
import { readState } from '../../store/sealed-state.ts'
import type { Store } from '../../store/store.ts'

/** Number of events to resend if a cursor turns out to be forged. */
const RETOLD_EVENTS = 100

export interface Position {
  /** Number of the last event that was sent; undefined before the webhook has a row. */
  readonly told: number | undefined
  /** Number of the log's last event. */
  readonly end: number
}

export interface Cursor {
  /** Reads the position without claiming the webhook. @throws StorageError */
  position(): Promise<Position>
  /**
   * Claims the webhook for this instance, or renews the claim. A new webhook starts at the end of
   * the log.
   * @returns the number of the last event that was sent; undefined while another instance has the
   * claim
   * @throws StorageError
   */
  claim(claimMs: number): Promise<number | undefined>
  /**
   * Call only while holding the claim. Returns false if another instance has the claim.
   * @throws StorageError
   */
  advance(seq: number): Promise<boolean>
  /**
   * Releases the claim, so that another instance continues at once.
   * @throws StorageError
   */
  release(): Promise<void>
}

interface Found extends Position {
  /** False for a row that is forged, or ahead of the log. */
  readonly isSound: boolean
  readonly mac: SqlValue
}

/** @param owner unique for each process */
export function createCursor(store: Store, name: string, owner: string): Cursor {
  const { database, sealing } = store
  const { nowSql } = database
  const fieldsOf = (seq: number) => webhookFields(name, seq)
  const authenticate = (seq: number) => sealing.authenticate(fieldsOf(seq))
  /**
   * The highest number that this process has read or written. It is kept even if the row is
   * removed.
   */
  let known: number | undefined

  /** Returns undefined for a row that was not written with the store's key. */
  function parse(row: Row): number | undefined {
    const seq = Number(column(row, 'seq'))
    return sealing.isAuthentic(fieldsOf(seq), column(row, 'mac')) ? seq : undefined
  }

  /**
   * While the store key is being replaced, a MAC made with the old key is still valid. This
   * function replaces it with a new MAC.
   */
  async function renewCode(seq: number, mac: SqlValue): Promise<void> {
    if (mac === authenticate(seq)) return
    await database.write(
      'UPDATE webhooks SET mac = ? WHERE name = ? AND seq = ? AND mac = ? RETURNING seq',
      [authenticate(seq), name, seq, mac],
    )
  }

  function readPosition(): Promise<Found> {
    return database.snapshot(async (reader) => {
      const { events } = await readState(reader, sealing)
      const [row] = await reader.query('SELECT seq, mac FROM webhooks WHERE name = ?', [name])
      const told = row === undefined ? undefined : parse(row)
      const isSound = told !== undefined && told <= events.seq
      return {
        end: events.seq,
        told: isSound ? told : undefined,
        isSound: isSound || row === undefined,
        mac: row === undefined ? null : column(row, 'mac'),
      }
    })
  }

  /** Replaces a row that is missing or was forged. */
  async function repair(): Promise<void> {
    const { told, end, isSound } = await readPosition()
    if (told !== undefined) return
    const seq = Math.min(end, known ?? (isSound ? end : Math.max(0, end - RETOLD_EVENTS)))
    await database.write(
      `INSERT INTO webhooks (name, seq, mac, owner, claimed_until) VALUES (?, ?, ?, '', 0)
       ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, mac = excluded.mac RETURNING seq`,
      [name, seq, authenticate(seq)],
    )
  }

  return {
    async position() {
      const { told, end, mac } = await readPosition()
      if (told !== undefined) {
        known = Math.max(known ?? 0, told)
        await renewCode(told, mac)
      }
      return { told, end }
    },
    async claim(claimMs) {
      await repair()
      const [row] = await database.write(
        `UPDATE webhooks SET owner = ?, claimed_until = ${nowSql} + ?
         WHERE name = ? AND (owner = ? OR claimed_until < ${nowSql}) RETURNING seq, mac`,
        [owner, claimMs, name, owner],
      )
      return row === undefined ? undefined : parse(row)
    },
    async advance(seq) {
      const rows = await database.write(
        'UPDATE webhooks SET seq = ?, mac = ? WHERE name = ? AND owner = ? RETURNING seq',
        [seq, authenticate(seq), name, owner],
      )
      if (rows.length === 0) return false
      known = seq
      return true
    },
    async release() {
      await database.write(
        "UPDATE webhooks SET owner = '', claimed_until = 0 WHERE name = ? AND owner = ? RETURNING seq",
        [name, owner],
      )
    },
  }
}
