/**
 * Handles the expiry of a lease that was not renewed: a response that was released under it but not
 * yet sent is never sent.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '../../core/logger.ts'
import type { Gate } from './gate.ts'
import type { LeaseGuard } from './guard/lease-guard.ts'

export interface LeaseEnd {
  /** Call before the heartbeat that renews the lease is sent. */
  mark(): number
  /**
   * Call after every successful renewal, with the value mark() returned before its heartbeat was
   * sent.
   */
  watch(mark: number): void
  /** Call once the process no longer serves and no released response is pending. */
  stop(): void
}

export interface LeaseEndDeps {
  readonly gate: Pick<Gate, 'stats'>
  readonly guard: LeaseGuard
  readonly cutRevoked: () => Promise<void>
  readonly logger: Logger
}

/**
 * `kill` counts a silent instance as closed once its lease must have expired. The gate's checks
 * ensure this for new responses, but a response that has passed both checks may still be queued
 * here, because the peer does not read or another response is ahead of it. A timer on this event
 * loop cuts the connection, so that refusals can still be sent. If the process was suspended and
 * this timer fires too late, the guard cuts the connection.
 */
export function createLeaseEnd(deps: LeaseEndDeps): LeaseEnd {
  const { gate, guard } = deps
  let timer: NodeJS.Timeout | undefined
  let reported = guard.stats()

  function look(): void {
    timer = undefined
    const { leaseLeftMs } = gate.stats()
    if (leaseLeftMs <= 0) void end()
    else {
      // The timer is set for the end of the lease, which moves with each renewal.
      timer = setTimeout(look, Math.ceil(leaseLeftMs))
      timer.unref()
    }
  }

  async function end(): Promise<void> {
    await deps.cutRevoked()
    // If the lease was renewed in the meantime, the guard already tracks the new lease.
    if (gate.stats().leaseLeftMs <= 0) guard.disarm()
    report()
  }

  function report(): void {
    const stats = guard.stats()
    const firings = stats.firings - reported.firings
    if (firings === 0) return
    const connections = stats.cut - reported.cut
    reported = stats
    deps.logger.warn(
      'this process was suspended for longer than its lease; its connections were cut',
      {
        connections,
      },
    )
  }

  return {
    mark: guard.mark,
    watch(mark) {
      report()
      // A renewal that arrives too late does not count.
      if (gate.stats().leaseLeftMs > 0) guard.arm(mark)
      // One timer is enough for any number of renewals: it reads the clock when it fires.
      if (timer === undefined) look()
    },
    stop() {
      clearTimeout(timer)
      timer = undefined
      guard.close()
      report()
    },
  }
}
