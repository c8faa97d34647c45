/** The end of a lease that nobody renewed: what was released before, and has not left by then, does not leave. */
// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '../../core/logger.ts'
import type { Gate } from './gate.ts'
import type { LeaseGuard } from './guard/lease-guard.ts'

export interface LeaseEnd {
  /** Before the question of a renewal goes out. */
  mark(): number
  /** After each renewal, with the mark of its question. */
  watch(mark: number): void
  /** When nothing is served any more, and nothing that was released waits. */
  stop(): void
}

export interface LeaseEndDeps {
  readonly gate: Pick<Gate, 'stats'>
  readonly guard: LeaseGuard
  readonly cutRevoked: () => Promise<void>
  readonly logger: Logger
}

/**
 * `kill` takes an instance that does not answer for closed when its lease must be over. The gate's checks
 * see to that by themselves; but an answer that had passed both may still wait here, for a peer that does
 * not read or behind another one. It is cut by a timer of this event loop, so that refusals still leave; and where
 * that comes too late, since the process was stopped, by the guard.
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
      // Set for the end of the lease, which moves with each renewal.
      timer = setTimeout(look, Math.ceil(leaseLeftMs))
      timer.unref()
    }
  }

  async function end(): Promise<void> {
    await deps.cutRevoked()
    // Not if it was renewed meanwhile: then the guard is that of the new lease.
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
      'this process was stopped for longer than its lease: its connections were cut',
      {
        connections,
      },
    )
  }

  return {
    mark: guard.mark,
    watch(mark) {
      report()
      // A renewal that came too late is none.
      if (gate.stats().leaseLeftMs > 0) guard.arm(mark)
      // One timer for as long as there are renewals: it looks at the clock when it is due.
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
