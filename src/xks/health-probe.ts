/**
 * Checks health in the background, so that GetHealthStatus responds immediately with a recent
 * result.
 */
// SPDX-License-Identifier: Apache-2.0
import type { KeyBackend, ManagerHealth } from '../keys/key-backend.ts'
import type { Clock } from '../core/clock.ts'
import { Deadline, pause } from '../core/deadline.ts'
import { periodic, type Periodic } from '../core/periodic.ts'

/** XKS 1.0.3, GetHealthStatus: a cached result must not be older than one minute. */
export const MAX_AGE_MS = 60_000

/** Minimum interval between rechecks, because failing operations tend to come in bursts. */
const RECHECK_MS = 500

export interface HealthProbe {
  /** Runs the first check, then one per interval until `stop`. */
  start(): Promise<void>
  stop(): Promise<void>
  /**
   * Call when an operation failed because of a key manager. Checks immediately, but starts at most
   * one check per RECHECK_MS.
   */
  recheck(): void
  /**
   * Returns the result of the last check. If that result is over a minute old, reports every
   * manager as UNAVAILABLE.
   */
  current(): readonly ManagerHealth[]
}

export interface HealthProbeOptions {
  readonly backend: KeyBackend
  readonly clock: Clock
  /** Milliseconds between the end of one check and the start of the next. */
  readonly intervalMs: number
  /** Timeout of a check, after which it counts as failed. */
  readonly timeoutMs: number
  /** Called when the state of a manager changes. */
  readonly onChange?: (before: readonly ManagerHealth[], after: readonly ManagerHealth[]) => void
}

/** Reported until a backend has listed its managers for the first time. */
const UNKNOWN: readonly ManagerHealth[] = [
  { id: 'unknown', model: 'unknown', status: 'UNAVAILABLE' },
]

function toUnavailable(managers: readonly ManagerHealth[]): readonly ManagerHealth[] {
  return managers.map((manager) => ({ ...manager, status: 'UNAVAILABLE' as const }))
}

function statusesDiffer(a: readonly ManagerHealth[], b: readonly ManagerHealth[]): boolean {
  return a.length !== b.length || a.some((manager, i) => manager.status !== b[i]?.status)
}

export function createHealthProbe(options: HealthProbeOptions): HealthProbe {
  const { backend, clock } = options
  let managers = UNKNOWN
  let checkedAt = -Infinity
  let checking: Periodic | undefined
  let isRecheckDue = false

  async function recheckSoon(): Promise<void> {
    const wait = checkedAt + RECHECK_MS - clock.monotonic()
    if (wait > 0) await pause(wait)
    await checking?.runNow()
  }

  async function check(): Promise<void> {
    isRecheckDue = false
    const deadline = new Deadline(clock, options.timeoutMs)
    const startedAt = clock.monotonic()
    let found: readonly ManagerHealth[]
    try {
      found = await deadline.race(backend.health(deadline))
    } catch {
      found = toUnavailable(managers)
    }
    if (statusesDiffer(managers, found)) options.onChange?.(managers, found)
    managers = found
    // The age is counted from the start of the check, because a manager's state may have changed
    // while the check ran.
    checkedAt = startedAt
  }

  return {
    start() {
      checking = periodic({
        intervalMs: options.intervalMs,
        work: check,
        onError: () => undefined, // check never rejects
      })
      return checking.runNow()
    },
    async stop() {
      await checking?.stop()
    },
    recheck() {
      if (isRecheckDue) return
      isRecheckDue = true
      void recheckSoon()
    },
    current() {
      return clock.monotonic() - checkedAt > MAX_AGE_MS ? toUnavailable(managers) : managers
    },
  }
}
