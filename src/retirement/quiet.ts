/** Decides whether the record proves that a version has decrypted nothing for long enough. */
// SPDX-License-Identifier: Apache-2.0
import { loadInstances } from '../killswitch/instance/instances.ts'
import { ControlError } from '../killswitch/model.ts'
import type { Reader } from '../store/database.ts'
import { readEvents } from '../store/event-log.ts'
import type { SealedTransaction } from '../store/sealed-transaction.ts'
import type { Store } from '../store/store.ts'
import {
  CLOCK_MARGIN_MS,
  type LedgerState,
  isUseOf,
  loadLedgerState,
  loadVersionUses,
  tendLedger,
  toQuiet,
} from '../usage/version-table.ts'
import { RetirementError } from './errors.ts'
import { findRefusal, findRefusalEnds, type KeyName } from './refusals.ts'
import type { Retirement, VersionName } from './retirement-table.ts'

/** Ends the writers of processes that are gone, so that they do not hold the ledger back. */
export async function tend({ database, sealing }: Store, now: number): Promise<void> {
  const load = async (reader: Reader) => (await loadInstances(reader, sealing)).map(({ id }) => id)
  await tendLedger(database, load, now)
}

/** Kind of the event after which the ledger may lack uses recorded before it. */
const STORE_WENT_BACK = 'epoch-accepted'

/** @param at `before`: gaps and refusals that began or ended later do not count (default: all) */
export async function loadLedger(
  { sealing }: Pick<Store, 'sealing'>,
  reader: Reader | SealedTransaction,
  key: KeyName,
  { now, before = Infinity }: { readonly now: number; readonly before?: number },
): Promise<LedgerState> {
  const ledger = 'ledger' in reader ? reader.ledger : undefined
  const registered = (await loadInstances(reader, sealing, ledger)).map(({ id }) => id)
  const state = await loadLedgerState(reader, { now, registered, gapsBefore: before })
  const events = await readEvents(reader, sealing)
  const backs = events.filter(({ kind }) => kind === STORE_WENT_BACK).map(({ at }) => at)
  const ends = findRefusalEnds(events, key).filter((at) => at < before)
  return { ...state, since: Math.max(state.since, ...backs, ...ends) }
}

/**
 * @param now wall time, milliseconds since the Unix epoch
 * @throws RetirementError NOT_QUIET
 */
export async function checkQuiet(
  store: Pick<Store, 'sealing' | 'database'>,
  reader: Reader | SealedTransaction,
  one: VersionName & Pick<Retirement, 'quietForMs'>,
  now: number,
): Promise<void> {
  const refusal = await findRefusal(store, reader, one)
  if (refusal !== undefined) throw notQuiet(`${refusal}, so its silence proves nothing`)
  const state = await loadLedger(store, reader, one, { now })
  const quiet = toQuiet(state, await usesOf(reader, one))
  if (quiet.doubt !== undefined) throw notQuiet(quiet.doubt)
  if (quiet.ms >= one.quietForMs) return
  const since = new Date(quiet.since).toISOString()
  const until = quiet.until === undefined ? '' : new Date(quiet.until).toISOString()
  throw notQuiet(`nothing was decrypted from ${since} to ${until}, which is too short`)
}

/** A retirement that a second person has approved. */
export type Approved = Retirement & { readonly approval: { readonly at: number } }

/**
 * Checks that the waiting period is over. It begins again when a refusal of every Decrypt ends,
 * because a user who is refused for another reason does not learn that the version is being retired.
 * @throws RetirementError NOT_QUIET; ControlError NOT_READY
 */
export async function checkWaited(
  store: Pick<Store, 'sealing' | 'database'>,
  reader: Reader,
  one: Approved,
  now: number,
): Promise<void> {
  const refusal = await findRefusal(store, reader, one)
  if (refusal !== undefined) {
    throw notQuiet(`${refusal}, and the waiting period begins again after that`)
  }
  const ends = findRefusalEnds(await readEvents(reader, store.sealing), one)
  const readyAt = Math.max(one.approval.at, ...ends) + one.waitForMs
  if (now >= readyAt) return
  const when = new Date(readyAt).toISOString()
  throw new ControlError('NOT_READY', `this version can be destroyed from ${when}`)
}

/** Returns the last Decrypt before the approval, or the start of the record. */
export async function findQuietSince(
  store: Pick<Store, 'sealing'>,
  reader: Reader | SealedTransaction,
  one: Approved,
  now: number,
): Promise<number> {
  const before = one.approval.at + CLOCK_MARGIN_MS
  const state = await loadLedger(store, reader, one, { now, before })
  return toQuiet(state, await usesOf(reader, one)).since
}

/**
 * Checks again once the record of everything before the approval is complete: looks for uses that
 * were not written yet at that time, and for callers refused since.
 * @returns as `findQuietSince`
 * @throws RetirementError NOT_QUIET
 */
export async function checkQuietBefore(
  store: Pick<Store, 'sealing'>,
  reader: Reader | SealedTransaction,
  one: Approved,
  now: number,
): Promise<number> {
  const refusedFrom = one.approval.at + CLOCK_MARGIN_MS
  const state = await loadLedger(store, reader, one, { now, before: refusedFrom })
  const uses = await usesOf(reader, one)
  const quiet = toQuiet(state, uses)
  if (state.knownUntil === undefined || state.knownUntil < refusedFrom) {
    throw notQuiet(quiet.doubt ?? 'what was used before the approval is not known yet')
  }
  if (quiet.since > one.approval.at - one.quietForMs) {
    const since = new Date(quiet.since).toISOString()
    throw notQuiet(`it may have decrypted until ${since}; cancel the retirement, and ask again`)
  }
  const refused = uses.filter(({ kind, lastAt }) => kind === 'refused' && lastAt > one.approval.at)
  const [first] = refused
  if (first !== undefined) {
    const count = refused.reduce((sum, { uses: some }) => sum + some, 0)
    const who = first.caller === '' ? 'an unnamed caller' : first.caller
    throw notQuiet(`${String(count)} Decrypts of ${who} were refused since the approval`)
  }
  return quiet.since
}

async function usesOf(reader: Reader, { keyStore, keyId, version }: VersionName) {
  return (await loadVersionUses(reader, keyStore, keyId)).filter(isUseOf(version))
}

export function notQuiet(why: string): RetirementError {
  return new RetirementError('NOT_QUIET', `the version cannot be retired: ${why}`, {
    hint: 'latchkey keys versions shows who used it, and until when that is known',
  })
}
