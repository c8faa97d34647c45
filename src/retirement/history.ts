/**
 * The recorded events that a retirement depends on. The log only grows, so it is read in slices
 * before a change begins: an open transaction would delay every kill in the fleet.
 */
// SPDX-License-Identifier: Apache-2.0
import { DATES_CHANGED } from '../keys/key-dates.ts'
import type { Reader } from '../store/database.ts'
import { type ControlEvent, readBackwards, readEvents } from '../store/event-log.ts'
import type { SealedTransaction } from '../store/sealed-transaction.ts'
import type { Sealing } from '../store/sealing.ts'
import { CERTIFIED, VERSION_DESTROYED } from './certificate.ts'
import { ENDS_REFUSAL } from './refusals.ts'

/**
 * Kind of event that records the acceptance of a store with another history. Its ledger may lack
 * uses that were recorded earlier.
 */
export const STORE_WENT_BACK = 'epoch-accepted'

const KINDS: ReadonlySet<string> = new Set([
  ...ENDS_REFUSAL,
  ...[DATES_CHANGED, STORE_WENT_BACK, CERTIFIED, VERSION_DESTROYED],
])

const isNeeded = ({ kind }: ControlEvent) => KINDS.has(kind)

export interface History {
  /** Oldest first. */
  readonly events: readonly ControlEvent[]
  /** Sequence number of the last event that was read; 0 for an empty log. */
  readonly seq: number
}

/** The data on which a decision about a retirement is based. */
export interface Past extends Pick<History, 'events'> {
  /** Wall time, in milliseconds since the Unix epoch. */
  readonly now: number
}

/**
 * Reads the log in slices, so that other work can run in between.
 * @throws StorageError STORE_TAMPERED
 */
export async function readHistory(reader: Reader, sealing: Sealing): Promise<History> {
  const portions: (readonly ControlEvent[])[] = []
  let seq = 0
  for await (const portion of readBackwards(reader, sealing)) {
    seq = Math.max(seq, portion.at(-1)?.seq ?? 0)
    portions.push(portion.filter(isNeeded))
  }
  return { events: portions.reverse().flat(), seq }
}

/**
 * Returns the events up to now. Reads only those that were recorded after the history was read.
 * @throws StorageError STORE_TAMPERED
 */
export async function continueHistory(
  transaction: SealedTransaction,
  sealing: Sealing,
  { events, seq }: History,
): Promise<readonly ControlEvent[]> {
  const later = await readEvents(transaction, sealing, seq)
  return [...events, ...later.filter(isNeeded)]
}
