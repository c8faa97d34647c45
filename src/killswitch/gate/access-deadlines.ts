/** Turns the time at which a dead man's switch closes, by the database's clock, into this process's own time. */
// SPDX-License-Identifier: Apache-2.0
import type { AccessDeadline } from './rules.ts'
import type { DeadManSwitch } from '../model.ts'

export interface AccessDeadlines {
  /**
   * @param at `askedAt`: monotonic milliseconds before the database was asked; `now`: its wall clock
   */
  update(
    deadManSwitches: readonly DeadManSwitch[],
    at: { readonly askedAt: number; readonly now: number },
  ): ReadonlyMap<string, AccessDeadline>
}

/**
 * A deadline that was computed for a renewal never moves to a later time: a wall clock that is set back, even the
 * database's, does not keep a key store open.
 */
export function createAccessDeadlines(): AccessDeadlines {
  let known = new Map<string, { renewal: string; deadline: AccessDeadline }>()
  return {
    update(deadManSwitches, { askedAt, now }) {
      const next: typeof known = new Map()
      for (const { keyStore, renewedAt, openUntil } of deadManSwitches) {
        const renewal = `${String(renewedAt)} ${String(openUntil)}`
        const before = known.get(keyStore)
        const earlier = before?.renewal === renewal ? before.deadline.monotonicAt : Infinity
        const monotonicAt = Math.min(earlier, askedAt + (openUntil - now))
        next.set(keyStore, { renewal, deadline: { monotonicAt, wallAt: openUntil } })
      }
      known = next
      return new Map([...next].map(([keyStore, { deadline }]) => [keyStore, deadline]))
    },
  }
}
