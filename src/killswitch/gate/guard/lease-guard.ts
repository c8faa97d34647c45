/**
 * A kernel timer that cuts the connections of this process soon after a lease ends, unless the
 * process has renewed the lease or handled its end. The timer also fires while the process is
 * suspended, and its handler is the first code to run when the process resumes. docs/revocation.md
 * describes the gap that the timer closes.
 */
// SPDX-License-Identifier: Apache-2.0
import { createRequire } from 'node:module'
import { describeMissingAddOn } from '../../../core/native-add-on.ts'

/**
 * Delay after lease expiry, in milliseconds. A busy event loop that is late by up to this much must
 * not lose its connections. The delay is far enough below the margin of `kill` to allow for a late
 * kernel timer.
 */
export const GUARD_GRACE_MS = 150

/** Relative to the project root, so it resolves from dist/ and from .test-build/. */
const FILE = '../../../../../src/killswitch/gate/guard/build/Release/lease_guard.node'

/** guard/lease-guard.c documents each function. */
interface AddOn {
  open(): number
  protect(guard: number, port: number): void
  now(): number
  arm(guard: number, at: number): void
  disarm(guard: number): void
  firings(guard: number): number
  cut(guard: number): number
  close(guard: number): void
}

export interface LeaseGuardStats {
  readonly isOn: boolean
  readonly firings: number
  /** Number of connections that the guard has cut. */
  readonly cut: number
}

export interface LeaseGuard {
  /** The reason the guard is unavailable; if set, every other method does nothing. */
  readonly missing: string | undefined
  /** Makes the guard cut connections to this port. */
  protect(port: number): void
  /** Call before the heartbeat that renews the lease is sent. */
  mark(): number
  /**
   * Call after every successful renewal, with the value mark() returned before its heartbeat was
   * sent.
   */
  arm(mark: number): void
  /** Call when this process no longer holds any response that was released under the lease. */
  disarm(): void
  stats(): LeaseGuardStats
  close(): void
}

/**
 * Call on the thread that writes to the sockets. Does not throw: without the add-on, only the guard
 * is unavailable.
 */
export function openLeaseGuard(leaseMs: number): LeaseGuard {
  let addOn: AddOn
  let guard: number
  try {
    addOn = createRequire(import.meta.url)(FILE) as AddOn
    guard = addOn.open()
  } catch (error) {
    return noLeaseGuard(toReason(error))
  }
  let last: LeaseGuardStats | undefined
  const stats = () => last ?? { isOn: true, firings: addOn.firings(guard), cut: addOn.cut(guard) }
  return {
    missing: undefined,
    protect(port) {
      addOn.protect(guard, port)
    },
    mark: addOn.now,
    arm(mark) {
      addOn.arm(guard, mark + leaseMs + GUARD_GRACE_MS)
    },
    disarm() {
      if (last === undefined) addOn.disarm(guard)
    },
    stats,
    close() {
      if (last !== undefined) return
      last = stats()
      addOn.close(guard)
    },
  }
}

export function noLeaseGuard(missing: string): LeaseGuard {
  return {
    missing,
    protect: () => undefined,
    mark: () => 0,
    arm: () => undefined,
    disarm: () => undefined,
    stats: () => ({ isOn: false, firings: 0, cut: 0 }),
    close: () => undefined,
  }
}

function toReason(error: unknown): string {
  if (process.platform !== 'linux') return 'the lease guard requires Linux'
  return describeMissingAddOn(error)
}
