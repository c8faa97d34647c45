/**
 * If Latchkey generates the IVs, counts the encryptions with each key version on a token, in the
 * same way as for software keys.
 */
// SPDX-License-Identifier: Apache-2.0
import type { ExternalKeyId, KeyStoreName } from '../../core/ids.ts'
import type { Logger } from '../../core/logger.ts'
import type { Store } from '../../store/store.ts'
import { BLOCK_USES, MAX_USES, UseCounter, warnNearLimit } from '../software/use-counter.ts'
import { createUseReservations } from '../software/use-reservations.ts'

export interface UseLimits {
  readonly blockUses: number
  readonly maxUses: number
}

/** Returns a version's counter, which is the same object for the life of the process. */
export type UseCounters = (
  keyStore: KeyStoreName,
  keyId: ExternalKeyId,
  version: number,
) => UseCounter

export function createUseCounters(
  { store, logger }: { readonly store: Store; readonly logger: Logger },
  limits: UseLimits = { blockUses: BLOCK_USES, maxUses: MAX_USES },
): UseCounters {
  const reservations = createUseReservations(store, limits.maxUses)
  const counters = new Map<KeyStoreName, Map<ExternalKeyId, Map<number, UseCounter>>>()
  return (keyStore, keyId, version) => {
    let keys = counters.get(keyStore)
    if (keys === undefined)
      counters.set(keyStore, (keys = new Map<ExternalKeyId, Map<number, UseCounter>>()))
    let versions = keys.get(keyId)
    if (versions === undefined) keys.set(keyId, (versions = new Map<number, UseCounter>()))
    const known = versions.get(version)
    if (known !== undefined) return known
    const at = { keyStore, keyId, version, floor: 0 }
    const counter = new UseCounter({
      ...limits,
      reserve: (count, isUrgent) => reservations.reserve(at, count, isUrgent),
      onNearLimit: warnNearLimit(logger, at, limits.maxUses),
    })
    versions.set(version, counter)
    return counter
  }
}
