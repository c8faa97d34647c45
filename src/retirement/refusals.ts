/**
 * Finds periods in which every Decrypt with a key was refused. Callers may give up during such a
 * period, so a lack of requests proves nothing.
 */
// SPDX-License-Identifier: Apache-2.0
import { readDatabaseNow } from '../killswitch/operator/restore-requests.ts'
import { loadControlState } from '../killswitch/switch-table.ts'
import type { Reader } from '../store/database.ts'
import type { ControlEvent } from '../store/event-log.ts'
import { column, selectRows } from '../store/sealed-rows.ts'
import { DATES_CHANGED, findKeyDates, type KeyDates, toDateState } from '../keys/key-dates.ts'
import { KEYS } from '../store/sealed-tables.ts'
import type { Store } from '../store/store.ts'
import type { VersionName } from './retirement-table.ts'

export type KeyName = Pick<VersionName, 'keyStore' | 'keyId'>

/** Kinds of events that end a refusal. A dead man's switch event names only its key store. */
export const ENDS_REFUSAL: ReadonlySet<string> = new Set([
  ...['restore', 'expired', 'deadman-reopened', 'deadman-ended', 'key-enabled'],
])

/**
 * Returns what currently refuses every Decrypt with the key, as a clause for a message; undefined
 * if nothing does.
 */
export async function findRefusal(
  store: Pick<Store, 'sealing' | 'database'>,
  reader: Reader,
  { keyStore, keyId }: KeyName,
): Promise<string | undefined> {
  const { switches, deadManSwitches } = await loadControlState(reader, store.sealing)
  const isKilled = switches.some(
    ({ scope, direction }) =>
      direction !== 'encrypt' &&
      (scope.kind === 'all' ||
        (scope.kind === 'key-store' && scope.keyStore === keyStore) ||
        (scope.kind === 'key' && scope.keyStore === keyStore && scope.keyId === keyId)),
  )
  if (isKilled) return 'a kill switch blocks the key'
  const now = await readDatabaseNow(store, reader)
  const own = deadManSwitches.find((one) => one.keyStore === keyStore)
  if (own !== undefined && own.openUntil <= now) {
    return "the dead man's switch of the key store is closed"
  }
  const where = { key_store: keyStore, key_id: keyId }
  const [key] = await selectRows(reader, store.sealing, KEYS, where)
  const isDisabled = key !== undefined && column(key, 'status') === 'DISABLED'
  if (isDisabled) return 'the key is disabled'
  const dates = await findKeyDates(reader, store.sealing, { keyStore, keyId })
  return toDateState(dates, now) === 'PRE_ACTIVE' ? 'the key is not active yet' : undefined
}

/** Returns the wall times at which refusals of every Decrypt with the key ended. */
export function findRefusalEnds(
  events: readonly ControlEvent[],
  { keyStore, keyId }: KeyName,
): readonly number[] {
  const scopes = new Set(['all', `key store ${keyStore}`, `key ${keyStore}/${keyId}`])
  const ended = events.flatMap(({ kind, at, detail }) => {
    if (!ENDS_REFUSAL.has(kind)) return []
    const isAbout =
      typeof detail['scope'] === 'string'
        ? scopes.has(detail['scope'])
        : detail['keyStore'] === keyStore && (detail['keyId'] ?? keyId) === keyId
    return isAbout ? [at] : []
  })
  return [...ended, ...findActivations(events, { keyStore, keyId })]
}

/**
 * Returns the end of each period before an activation date: the date itself, or the time at which
 * it was replaced if that came first.
 */
function findActivations(
  events: readonly ControlEvent[],
  { keyStore, keyId }: KeyName,
): readonly number[] {
  const changes = events.filter(
    ({ kind, detail }) =>
      kind === DATES_CHANGED && detail['keyStore'] === keyStore && detail['keyId'] === keyId,
  )
  return changes.flatMap(({ at, detail }, i) => {
    const { activateAt } = detail['after'] as KeyDates
    if (activateAt === undefined || activateAt <= at) return []
    return [Math.min(activateAt, changes[i + 1]?.at ?? Infinity)]
  })
}
