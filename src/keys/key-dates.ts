/**
 * Activation and deactivation dates of keys, which mean the same as KMIP's Activation Date and
 * Deactivation Date. They are stored as sealed rows, and kept in memory for requests.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'
import { DATE_RANGE, isInRange } from '../core/duration.ts'
import { forEachInSlices } from '../core/slices.ts'
import type { Reader, Row } from '../store/database.ts'
import type { RecordChange } from '../store/event-log.ts'
import { column, selectRows } from '../store/sealed-rows.ts'
import { KEY_DATES } from '../store/sealed-tables.ts'
import { deleteRow, putRow, type SealedTransaction } from '../store/sealed-transaction.ts'
import type { Sealing } from '../store/sealing.ts'
import type { Store } from '../store/store.ts'
import { BackendError } from './errors.ts'
import type { DateState } from './key-backend.ts'

/** Wall-clock times in milliseconds since the Unix epoch. */
export interface KeyDates {
  /** The key is refused before this time. */
  readonly activateAt?: number
  /** From this time on, the key only decrypts. */
  readonly deactivateAt?: number
}

/** Null removes a date; undefined leaves it unchanged. */
export type KeyDatesChange = {
  readonly [Name in keyof KeyDates]?: KeyDates[Name] | null
}

interface KeyName {
  readonly keyStore: string
  readonly keyId: string
}

/** Returns a change that sets the given dates and removes those that are not given. */
export function replaceDates({ activateAt, deactivateAt }: KeyDates = {}): KeyDatesChange {
  return { activateAt: activateAt ?? null, deactivateAt: deactivateAt ?? null }
}

/** Kind of the event that records a change of dates. */
export const DATES_CHANGED = 'key-dates-changed'

export function toDateState(
  { activateAt = -Infinity, deactivateAt = Infinity }: KeyDates,
  now: number,
): DateState | undefined {
  if (now < activateAt) return 'PRE_ACTIVE'
  return now >= deactivateAt ? 'DEACTIVATED' : undefined
}

/** Returns the dates, and the state that they give the key now, as fields of a summary. */
export function toDateFields(dates: KeyDates, now: number) {
  const dateState = toDateState(dates, now)
  return { ...dates, ...(dateState && { dateState }) }
}

export const toKeyName = ({ keyStore, keyId }: KeyName) => `${keyStore}/${keyId}`

/** The casts are safe: the row's MAC proves that `changeKeyDates` wrote it. */
export function parseKeyDates(row: Row): KeyName & { readonly dates: KeyDates } {
  const time = (name: string) => {
    const value = column(row, name)
    return value === null ? undefined : Number(value)
  }
  return {
    ...{ keyStore: String(column(row, 'key_store')), keyId: String(column(row, 'key_id')) },
    dates: toDates(time('activate_at'), time('deactivate_at')),
  }
}

function toDates(activateAt: number | undefined, deactivateAt: number | undefined): KeyDates {
  return {
    ...(activateAt !== undefined && { activateAt }),
    ...(deactivateAt !== undefined && { deactivateAt }),
  }
}

/** Returns the dates of all keys in `rows`, keyed by the name that `toKeyName` returns. */
export function toDatesByKey(rows: readonly Row[]): ReadonlyMap<string, KeyDates> {
  return new Map(
    rows
      .map(parseKeyDates)
      .map(({ dates, ...name }): [string, KeyDates] => [toKeyName(name), dates]),
  )
}

/** Returns no dates for a key without a row. @throws StorageError STORE_TAMPERED */
export async function findKeyDates(
  reader: Reader,
  sealing: Sealing,
  { keyStore, keyId }: KeyName,
): Promise<KeyDates> {
  const where = { key_store: keyStore, key_id: keyId }
  const [row] = await selectRows(reader, sealing, KEY_DATES, where)
  return row === undefined ? {} : parseKeyDates(row).dates
}

/**
 * Changes the dates of a key, and records the old and new dates. Does nothing if the dates stay the
 * same.
 * @throws BackendError KEY_DATES_INVALID
 */
export async function changeKeyDates(
  transaction: SealedTransaction,
  { sealing, record }: { readonly sealing: Sealing; readonly record: RecordChange },
  { keyStore, keyId }: KeyName,
  change: KeyDatesChange,
): Promise<void> {
  for (const at of Object.values(change)) {
    if (at === null || isInRange(at)) continue
    const found = `found ${String(at)} ms since the Unix epoch`
    throw new BackendError('KEY_DATES_INVALID', `expected ${DATE_RANGE}, ${found}`)
  }
  const before = await findKeyDates(transaction, sealing, { keyStore, keyId })
  const merge = (name: keyof KeyDates) =>
    change[name] === undefined ? before[name] : (change[name] ?? undefined)
  const [activateAt, deactivateAt] = [merge('activateAt'), merge('deactivateAt')]
  if (activateAt === before.activateAt && deactivateAt === before.deactivateAt) return
  if (activateAt !== undefined && deactivateAt !== undefined && deactivateAt <= activateAt) {
    throw new BackendError(
      'KEY_DATES_INVALID',
      'expected a deactivation date later than the activation date',
    )
  }
  const key = { key_store: keyStore, key_id: keyId }
  if (activateAt === undefined && deactivateAt === undefined) {
    await deleteRow(transaction, sealing, KEY_DATES, key)
  } else {
    const dates = { activate_at: activateAt ?? null, deactivate_at: deactivateAt ?? null }
    await putRow(transaction, sealing, KEY_DATES, { ...key, ...dates })
  }
  const after = toDates(activateAt, deactivateAt)
  await record(transaction, DATES_CHANGED, { keyStore, keyId, before, after })
}

/**
 * The dates of keys in memory. A date takes effect when the clock reaches it, without another read
 * of the store.
 */
export interface ServedKeyDates {
  /**
   * Applies changes from the store. If that fails, the previously read dates stay in force.
   * @throws StorageError
   */
  reload(): Promise<void>
  stateOf(keyStore: string, keyId: string): DateState | undefined
}

/** Number of rows applied in one turn of the event loop. */
const SLICE = 500

export function followKeyDates(
  store: Pick<Store, 'feed'>,
  clock: Pick<Clock, 'now'>,
): ServedKeyDates {
  const feed = store.feed(KEY_DATES)
  let served = new Map<string, KeyDates>()
  return {
    reload: () =>
      feed.update(async (changes) => {
        for (const { put, removed, isReset } of changes) {
          // Until a reset has been applied completely, the earlier dates stay in force.
          const next = isReset ? new Map<string, KeyDates>() : served
          await forEachInSlices(put, SLICE, (row) => {
            const { dates, ...name } = parseKeyDates(row)
            next.set(toKeyName(name), dates)
          })
          for (const key of removed) next.delete(key.map(String).join('/'))
          served = next
        }
      }),
    stateOf(keyStore, keyId) {
      if (served.size === 0) return undefined
      const dates = served.get(toKeyName({ keyStore, keyId }))
      return dates && toDateState(dates, clock.now())
    },
  }
}
