/**
 * Decides whether the record proves that a version has not been used to decrypt for long enough.
 */
// SPDX-License-Identifier: Apache-2.0
import { loadInstances } from '../killswitch/instance/instances.ts'
import { ControlError } from '../killswitch/model.ts'
import type { Reader } from '../store/database.ts'
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
import { type Past, STORE_WENT_BACK } from './history.ts'
import { findRefusal, findRefusalEnds, type KeyName } from './refusals.ts'
import type { Retirement, VersionName } from './retirement-table.ts'

/**
 * Closes the ledger writers of processes that are no longer registered, because an open writer
 * limits how far the ledger is known to be complete.
 */
export async function tend({ database, sealing }: Store, now: number): Promise<void> {
  const load = async (reader: Reader) => (await loadInstances(reader, sealing)).map(({ id }) => id)
  await tendLedger(database, load, now)
}

/**
 * @param past if `before` is set, gaps that began and refusals that ended after that time are
 * ignored (default: none are ignored)
 */
export async function loadLedger(
  { sealing }: Pick<Store, 'sealing'>,
  reader: Reader | SealedTransaction,
  key: KeyName,
  { now, events, before = Infinity }: Past & { readonly before?: number },
): Promise<LedgerState> {
  const ledger = 'ledger' in reader ? reader.ledger : undefined
  const registered = (await loadInstances(reader, sealing, ledger)).map(({ id }) => id)
  const state = await loadLedgerState(reader, { now, registered, gapsBefore: before })
  const backs = events.filter(({ kind }) => kind === STORE_WENT_BACK).map(({ at }) => at)
  const ends = findRefusalEnds(events, key).filter((at) => at < before)
  return { ...state, since: Math.max(state.since, ...backs, ...ends) }
}

/** @throws RetirementError NOT_QUIET */
export async function checkQuiet(
  store: Pick<Store, 'sealing' | 'database'>,
  reader: Reader | SealedTransaction,
  one: VersionName & Pick<Retirement, 'quietForMs'>,
  past: Past,
): Promise<void> {
  const refusal = await findRefusal(store, reader, one)
  if (refusal !== undefined) throw notQuiet(`${refusal}, so the absence of Decrypts proves nothing`)
  const state = await loadLedger(store, reader, one, past)
  const quiet = toQuiet(state, await usesOf(reader, one))
  if (quiet.doubt !== undefined) throw notQuiet(quiet.doubt)
  if (quiet.ms >= one.quietForMs) return
  const since = new Date(quiet.since).toISOString()
  const until = quiet.until === undefined ? '' : new Date(quiet.until).toISOString()
  throw notQuiet(`nothing was decrypted from ${since} to ${until}, but that period is too short`)
}

/** A retirement that a second person has approved. */
export type Approved = Retirement & { readonly approval: { readonly at: number } }

/**
 * Checks that the waiting period is over. The period restarts at the end of any time in which every
 * Decrypt was refused for another reason, because callers then do not learn that the version is
 * being retired.
 * @throws RetirementError NOT_QUIET; ControlError NOT_READY
 */
export async function checkWaited(
  store: Pick<Store, 'sealing' | 'database'>,
  reader: Reader,
  one: Approved,
  { now, events }: Past,
): Promise<void> {
  const refusal = await findRefusal(store, reader, one)
  if (refusal !== undefined) {
    throw notQuiet(`${refusal}; the waiting period starts over once this no longer applies`)
  }
  const ends = findRefusalEnds(events, one)
  const readyAt = Math.max(one.approval.at, ...ends) + one.waitForMs
  if (now >= readyAt) return
  const when = new Date(readyAt).toISOString()
  throw new ControlError('NOT_READY', `this version cannot be destroyed before ${when}`)
}

/** Returns the time of the last Decrypt before the approval, or the start of the record. */
export async function findQuietSince(
  store: Pick<Store, 'sealing'>,
  reader: Reader | SealedTransaction,
  one: Approved,
  past: Past,
): Promise<number> {
  const before = one.approval.at + CLOCK_MARGIN_MS
  const state = await loadLedger(store, reader, one, { ...past, before })
  return toQuiet(state, await usesOf(reader, one)).since
}

/**
 * Repeats the check once the record is complete up to the approval. Finds uses that had not yet
 * been written when the retirement was approved, and callers that have been refused since.
 * @returns the same as `findQuietSince`
 * @throws RetirementError NOT_QUIET
 */
export async function checkQuietBefore(
  store: Pick<Store, 'sealing'>,
  reader: Reader | SealedTransaction,
  one: Approved,
  past: Past,
): Promise<number> {
  const refusedFrom = one.approval.at + CLOCK_MARGIN_MS
  const state = await loadLedger(store, reader, one, { ...past, before: refusedFrom })
  const uses = await usesOf(reader, one)
  const quiet = toQuiet(state, uses)
  if (state.knownUntil === undefined || state.knownUntil < refusedFrom) {
    throw notQuiet(quiet.doubt ?? 'usage before the approval is not known yet')
  }
  if (quiet.since > one.approval.at - one.quietForMs) {
    const since = new Date(quiet.since).toISOString()
    throw notQuiet(
      `the version may have decrypted until ${since}; cancel the retirement, and request it again`,
    )
  }
  const refused = uses.filter(({ kind, lastAt }) => kind === 'refused' && lastAt > one.approval.at)
  const [first] = refused
  if (first !== undefined) {
    const count = refused.reduce((sum, { uses: some }) => sum + some, 0)
    const who = first.caller === '' ? 'an unnamed caller' : first.caller
    throw notQuiet(`${String(count)} Decrypts by ${who} have been refused since the approval`)
  }
  return quiet.since
}

async function usesOf(reader: Reader, { keyStore, keyId, version }: VersionName) {
  return (await loadVersionUses(reader, keyStore, keyId)).filter(isUseOf(version))
}

export function notQuiet(why: string): RetirementError {
  return new RetirementError('NOT_QUIET', `the version cannot be retired: ${why}`, {
    hint: 'run latchkey keys versions to see who used the version, and up to when the record is complete',
  })
}
