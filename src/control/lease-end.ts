/** The end of a lease that nobody renewed: what was released before, and has not left by then, does not leave. */
// SPDX-License-Identifier: Apache-2.0
import type { Gate } from './gate.ts'

export interface LeaseEnd {
  /** After each renewal. */
  watch(): void
  stop(): void
}

/**
 * `kill` takes an instance that does not answer for closed when its lease must be over. The gate's checks
 * see to that by themselves; but an answer that had passed both may still wait here, for a peer that does
 * not read or behind another one.
 */
export function createLeaseEnd(
  gate: Pick<Gate, 'stats'>,
  cutRevoked: () => Promise<void>,
): LeaseEnd {
  let timer: NodeJS.Timeout | undefined

  function look(): void {
    timer = undefined
    const { leaseLeftMs } = gate.stats()
    if (leaseLeftMs <= 0) void cutRevoked()
    else {
      timer = setTimeout(look, Math.ceil(leaseLeftMs))
      timer.unref()
    }
  }

  return {
    // One timer for as long as there are renewals: it looks at the clock when it is due.
    watch() {
      if (timer === undefined) look()
    },
    stop() {
      clearTimeout(timer)
      timer = undefined
    },
  }
}
