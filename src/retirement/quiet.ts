/** Decides whether the record proves that a version has decrypted nothing for long enough. */
// SPDX-License-Identifier: Apache-2.0
import { loadInstances } from '../killswitch/instance/instances.ts'
import { loadControlState } from '../killswitch/switch-table.ts'
import type { Reader } from '../store/database.ts'
import { readEvents } from '../store/event-log.ts'
import type { SealedTransaction } from '../store/sealed-transaction.ts'
import type { Store } from '../store/store.ts'
import {
  CLOCK_MARGIN_MS,
  type LedgerState,
  loadLedgerState,
  loadVersionUses,
  tendLedger,
  toQuiet,
} from '../usage/version-table.ts'
import { RetirementError } from './errors.ts'
import type { Retirement, VersionName } from './retirement-table.ts'

type Key = Pick<VersionName, 'keyStore' | 'keyId'>

/** Ends the writers of processes that are gone, so that they do not hold the ledger back. */
export async function tend({ database, sealing }: Store, now: number): Promise<void> {
  const load = async (reader: Reader) => (await loadInstances(reader, sealing)).map(({ id }) => id)
  await tendLedger(database, load, now)
}

/** Kinds of events before which silence proves nothing: a switch refused uses until then. */
const ENDS_REFUSAL: ReadonlySet<string> = new Set(['restore', 'expired', 'deadman-reopened'])
/** Kind of the event after which the ledger may lack uses recorded before it. */
const STORE_WENT_BACK = 'epoch-accepted'

/** @param at `before`: gaps and refusals that began or ended later do not count (default: all) */
export async function loadLedger(
  { sealing }: Pick<Store, 'sealing'>,
  reader: Reader | SealedTransaction,
  key: Key,
  { now, before = Infinity }: { readonly now: number; readonly before?: number },
): Promise<LedgerState> {
  const ledger = 'ledger' in reader ? reader.ledger : undefined
  const registered = (await loadInstances(reader, sealing, ledger)).map(({ id }) => id)
  const state = await loadLedgerState(reader, { now, registered, gapsBefore: before })
  const scopes = scopesOf(key)
  const ends = (await readEvents(reader, sealing)).filter(({ kind, at, detail }) => {
    if (kind === STORE_WENT_BACK) return true
    const { scope } = detail
    return ENDS_REFUSAL.has(kind) && at < before && (typeof scope !== 'string' || scopes.has(scope))
  })
  return { ...state, since: Math.max(state.since, ...ends.map(({ at }) => at)) }
}

/** The scopes of switches that stop every use of a key, as events name them. */
function scopesOf({ keyStore, keyId }: Key): ReadonlySet<string> {
  return new Set(['all', `key store ${keyStore}`, `key ${keyStore}/${keyId}`])
}

/**
 * @param now wall time, milliseconds since the Unix epoch
 * @throws RetirementError NOT_QUIET
 */
export async function checkQuiet(
  store: Pick<Store, 'sealing'>,
  reader: Reader | SealedTransaction,
  one: VersionName & Pick<Retirement, 'quietForMs'>,
  now: number,
): Promise<void> {
  const { switches } = await loadControlState(reader, store.sealing)
  const killed = switches.some(
    ({ scope, direction }) =>
      direction !== 'encrypt' &&
      (scope.kind === 'all' ||
        (scope.kind === 'key-store' && scope.keyStore === one.keyStore) ||
        (scope.kind === 'key' && scope.keyStore === one.keyStore && scope.keyId === one.keyId)),
  )
  if (killed) throw notQuiet('a kill switch refuses its uses, so its silence proves nothing')
  const state = await loadLedger(store, reader, one, { now })
  const quiet = toQuiet(state, await usesOf(reader, one))
  if (quiet.doubt !== undefined) throw notQuiet(quiet.doubt)
  if (quiet.ms >= one.quietForMs) return
  const since = new Date(quiet.since).toISOString()
  const until = quiet.until === undefined ? '' : new Date(quiet.until).toISOString()
  throw notQuiet(`nothing was decrypted from ${since} to ${until}, which is too short`)
}

/**
 * Checks again once the record of everything before the approval is complete: looks for uses that
 * were not written yet at that time, and for callers refused since.
 * @returns the last Decrypt, or the start of the record
 * @throws RetirementError NOT_QUIET
 */
export async function checkQuietBefore(
  store: Pick<Store, 'sealing'>,
  reader: Reader,
  one: Retirement & { readonly approval: { readonly at: number } },
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
  const uses = await loadVersionUses(reader, keyStore, keyId)
  return uses.filter((use) => use.version === version)
}

export function notQuiet(why: string): RetirementError {
  return new RetirementError('NOT_QUIET', `the version cannot be retired: ${why}`, {
    hint: 'latchkey keys versions shows who used it, and until when that is known',
  })
}
