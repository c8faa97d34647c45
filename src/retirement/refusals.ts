/**
 * Finds when every Decrypt with a key was refused, because its callers may have given up: their
 * silence then proves nothing.
 */
// SPDX-License-Identifier: Apache-2.0
import { readDatabaseNow } from '../killswitch/operator/restore-requests.ts'
import { loadControlState } from '../killswitch/switch-table.ts'
import type { Reader } from '../store/database.ts'
import type { ControlEvent } from '../store/event-log.ts'
import { column, selectRows } from '../store/sealed-rows.ts'
import { KEYS } from '../store/sealed-tables.ts'
import type { Store } from '../store/store.ts'
import type { VersionName } from './retirement-table.ts'

export type KeyName = Pick<VersionName, 'keyStore' | 'keyId'>

/** Kinds of events that end a refusal. Those of a dead man's switch name only their key store. */
const ENDS_REFUSAL: ReadonlySet<string> = new Set([
  ...['restore', 'expired', 'deadman-reopened', 'deadman-ended', 'key-enabled'],
])

/**
 * Returns what refuses every Decrypt with the key now, as the subject of a sentence; undefined if
 * nothing does.
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
  if (isKilled) return 'a kill switch refuses its uses'
  const now = await readDatabaseNow(store, reader)
  const own = deadManSwitches.find((one) => one.keyStore === keyStore)
  if (own !== undefined && own.openUntil <= now) {
    return "the dead man's switch of its key store is closed"
  }
  const where = { key_store: keyStore, key_id: keyId }
  const [key] = await selectRows(reader, store.sealing, KEYS, where)
  const isDisabled = key !== undefined && column(key, 'status') === 'DISABLED'
  return isDisabled ? 'the key is disabled' : undefined
}

/** Returns the wall times at which refusals of every Decrypt with the key ended. */
export function findRefusalEnds(
  events: readonly ControlEvent[],
  { keyStore, keyId }: KeyName,
): readonly number[] {
  const scopes = new Set(['all', `key store ${keyStore}`, `key ${keyStore}/${keyId}`])
  return events.flatMap(({ kind, at, detail }) => {
    if (!ENDS_REFUSAL.has(kind)) return []
    const isAbout =
      typeof detail['scope'] === 'string'
        ? scopes.has(detail['scope'])
        : detail['keyStore'] === keyStore && (detail['keyId'] ?? keyId) === keyId
    return isAbout ? [at] : []
  })
}
