/** Reads the newest events of the log, or all of them, in portions, so that other work can run in between. */
// SPDX-License-Identifier: Apache-2.0
import { hashLeaf } from '../core/tlog/merkle.ts'
import type { Reader } from './database.ts'
import { type ControlEvent, encodeEvent, readBackwards } from './event-log.ts'
import type { Sealing } from './sealing.ts'

/**
 * Returns the events at or after a time, oldest first. If a host's clock was far behind when it
 * recorded an event, events before that one may be missing.
 * @param at wall time, in milliseconds since the Unix epoch
 * @throws StorageError STORE_TAMPERED if one of the events read was changed or is missing
 */
export function readEventsSince(
  reader: Reader,
  sealing: Sealing,
  at: number,
): Promise<readonly ControlEvent[]> {
  return readWhile(reader, sealing, (event) => event.at >= at)
}

/**
 * Returns the events after number `since`, oldest first.
 * @throws StorageError STORE_TAMPERED if one of the events read was changed or is missing
 */
export function readEventsAfter(
  reader: Reader,
  sealing: Sealing,
  since: number,
): Promise<readonly ControlEvent[]> {
  return readWhile(reader, sealing, ({ seq }) => seq > since)
}

/** Reads backwards until a portion begins with an event that is not wanted. */
async function readWhile(
  reader: Reader,
  sealing: Sealing,
  isWanted: (event: ControlEvent) => boolean,
): Promise<readonly ControlEvent[]> {
  const portions: (readonly ControlEvent[])[] = []
  for await (const portion of readBackwards(reader, sealing)) {
    portions.push(portion.filter(isWanted))
    if (portion[0] === undefined || !isWanted(portion[0])) break
  }
  return portions.reverse().flat()
}

/** Selects which of the newest events to return. */
export interface EventQuery {
  readonly count: number
  readonly isWanted: (event: ControlEvent) => boolean
  /** Maximum number of events to examine, rounded up to a whole portion (default: all). */
  readonly examined?: number
}

/**
 * Returns the last matching events, oldest first. Keeps only the matching events in memory.
 * @throws StorageError STORE_TAMPERED if one of the events read was changed or is missing
 */
export async function readLastEvents(
  reader: Reader,
  sealing: Sealing,
  { count, isWanted, examined = Infinity }: EventQuery,
): Promise<readonly ControlEvent[]> {
  const portions: (readonly ControlEvent[])[] = []
  let [found, read] = [0, 0]
  if (count === 0) return []
  for await (const portion of readBackwards(reader, sealing)) {
    const wanted = portion.filter(isWanted).slice(-(count - found))
    portions.push(wanted)
    found += wanted.length
    read += portion.length
    if (found >= count || read >= examined) break
  }
  return portions.reverse().flat()
}

/** An event with all leaves of the control log, from which its proof is computed. */
export interface ProvableEvent {
  readonly event: ControlEvent
  /** Leaf hashes of all events. */
  readonly leaves: readonly Buffer[]
}

/**
 * Returns the last matching event; undefined if there is none. Reads the whole log.
 * @throws StorageError STORE_TAMPERED if an event was changed or is missing
 */
export async function findProvable(
  reader: Reader,
  sealing: Sealing,
  isWanted: (event: ControlEvent) => boolean,
): Promise<ProvableEvent | undefined> {
  const portions: (readonly Buffer[])[] = []
  let event: ControlEvent | undefined
  for await (const portion of readBackwards(reader, sealing)) {
    event ??= portion.findLast(isWanted)
    portions.push(portion.map((one) => hashLeaf(encodeEvent(one))))
  }
  return event === undefined ? undefined : { event, leaves: portions.reverse().flat() }
}
