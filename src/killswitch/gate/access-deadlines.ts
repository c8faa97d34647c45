/** From when leased access ends by the database's clock to when this process ends it by its own. */
// SPDX-License-Identifier: Apache-2.0
import type { Closing } from './rules.ts'
import type { LeasedAccess } from '../model.ts'

export interface Closings {
  /**
   * @param at `askedAt`: monotonic milliseconds before the database was asked; `now`: its wall clock
   */
  update(
    leased: readonly LeasedAccess[],
    at: { readonly askedAt: number; readonly now: number },
  ): ReadonlyMap<string, Closing>
}

/**
 * What was once worked out for a renewal is never moved to later: a wall clock that is set back, even
 * the database's, does not keep a key store open.
 */
export function createClosings(): Closings {
  let known = new Map<string, { renewal: string; closing: Closing }>()
  return {
    update(leased, { askedAt, now }) {
      const next: typeof known = new Map()
      for (const { keyStore, renewedAt, openUntil } of leased) {
        const renewal = `${String(renewedAt)} ${String(openUntil)}`
        const before = known.get(keyStore)
        const earlier = before?.renewal === renewal ? before.closing.monotonicAt : Infinity
        const monotonicAt = Math.min(earlier, askedAt + (openUntil - now))
        next.set(keyStore, { renewal, closing: { monotonicAt, wallAt: openUntil } })
      }
      known = next
      return new Map([...next].map(([keyStore, { closing }]) => [keyStore, closing]))
    },
  }
}
