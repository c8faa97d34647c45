/**
 * The kernel's part in the lease: a timer that ends the connections of this process soon after a lease that was
 * neither renewed nor looked after. It fires also while the process is stopped, and is the first thing that happens
 * when it goes on. docs/revocation.md says what that closes.
 */
// SPDX-License-Identifier: Apache-2.0
import { createRequire } from 'node:module'
import { describeAddOnFault } from '../../../core/native-add-on.ts'

/**
 * From the end of the lease: as long as an event loop may be busy then without losing its connections, and shorter
 * than the margin of `kill` by far more than a timer of the kernel is ever late.
 */
export const GUARD_GRACE_MS = 150

/** From the root of the project, for whichever build. */
const FILE = '../../../../../src/killswitch/gate/guard/build/Release/lease_guard.node'

/** guard/lease-guard.c says what each does. */
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
  /** Connections that it has cut. */
  readonly cut: number
}

export interface LeaseGuard {
  /** Why there is none here; the rest then does nothing. */
  readonly missing: string | undefined
  /** Connections to this port are those that it cuts. */
  protect(port: number): void
  /** To be taken before the question of a renewal goes out. */
  mark(): number
  /** The lease was renewed by the question at `mark`. */
  arm(mark: number): void
  /** Nothing that was released under the lease is left in this process. */
  disarm(): void
  stats(): LeaseGuardStats
  close(): void
}

/** On the thread that writes to the sockets. Does not throw: without it, everything but the guard works. */
export function openLeaseGuard(leaseMs: number): LeaseGuard {
  let addOn: AddOn
  let guard: number
  try {
    addOn = createRequire(import.meta.url)(FILE) as AddOn
    guard = addOn.open()
  } catch (error) {
    return noLeaseGuard(error instanceof Error ? toReason(error) : String(error))
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

function toReason(error: Error): string {
  if (process.platform !== 'linux') return 'it is for Linux'
  const { code } = error as NodeJS.ErrnoException
  // Node names everything that it tried, on lines of their own.
  if (code === 'MODULE_NOT_FOUND') return 'the add-on is not built'
  const fault = describeAddOnFault(error)
  return fault === undefined ? error.message : `the add-on ${fault}`
}
