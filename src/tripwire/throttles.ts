/** The throttles of one process, which temporarily refuse requests after a trip. */
// SPDX-License-Identifier: Apache-2.0
import { toCaller } from '../core/caller.ts'
import type { RequestSubject } from '../core/request.ts'
import type { Trip, TripwireRule } from './rule.ts'

interface Throttle {
  readonly rule: TripwireRule
  /** Monotonic time at which the throttle ends, in milliseconds. */
  readonly until: number
}

export interface Throttles {
  /** Throttles a trip's subject for the length of the rule's window. */
  add(trip: Trip, now: number): void
  /** Reports whether any rule refuses this request. */
  refuses(subject: RequestSubject, now: number): boolean
  /** Returns the number of subjects throttled now. */
  count(now: number): number
}

/**
 * Maximum number of throttled subjects. Above this number, the subject whose throttle expires first
 * is released.
 */
const MAX_SUBJECTS = 1000

export function createThrottles(): Throttles {
  /**
   * A subject may have broken several rules; each of them throttles it for the length of its own
   * window.
   */
  const bySubject = new Map<string, readonly Throttle[]>()

  function dropEnded(now: number): void {
    for (const [id, list] of bySubject) {
      if (endOf(list) <= now) bySubject.delete(id)
    }
  }

  function releaseFirst(): void {
    let first: string | undefined
    let end = Infinity
    for (const [id, list] of bySubject) {
      if (endOf(list) >= end) continue
      first = id
      end = endOf(list)
    }
    if (first !== undefined) bySubject.delete(first)
  }

  function isRefused(
    id: string,
    per: TripwireRule['per'],
    subject: RequestSubject,
    now: number,
  ): boolean {
    const list = bySubject.get(id)
    if (list === undefined) return false
    for (const { rule, until } of list) {
      // Compare the kind too, because a caller could have the same name as a key store.
      if (rule.per === per && now < until && covers(rule, subject)) return true
    }
    return false
  }

  return {
    add({ rule, subject: { keyStore = '', keyId, principal } }, now) {
      const id = principal ?? (keyId === undefined ? keyStore : `${keyStore} ${keyId}`)
      const others = (bySubject.get(id) ?? []).filter(
        (one) => one.until > now && one.rule.name !== rule.name,
      )
      if (!bySubject.has(id) && bySubject.size >= MAX_SUBJECTS) dropEnded(now)
      if (!bySubject.has(id) && bySubject.size >= MAX_SUBJECTS) releaseFirst()
      bySubject.set(id, [...others, { rule, until: now + rule.windowMs }])
    },
    refuses(subject, now) {
      if (bySubject.size === 0) return false
      const { keyStore, keyId = '', metadata } = subject
      return (
        isRefused(keyStore, 'key-store', subject, now) ||
        isRefused(`${keyStore} ${keyId}`, 'key', subject, now) ||
        isRefused(toCaller(metadata?.awsPrincipalArn ?? ''), 'principal', subject, now)
      )
    },
    count(now) {
      dropEnded(now)
      return bySubject.size
    },
  }
}

function endOf(list: readonly Throttle[]): number {
  return Math.max(...list.map(({ until }) => until))
}

function covers(rule: TripwireRule, { keyStore, keyId, operation }: RequestSubject): boolean {
  if (rule.keyStore !== undefined && rule.keyStore !== keyStore) return false
  // A caller is throttled for the entire key store, as with a kill.
  if (rule.key !== undefined && rule.per !== 'principal' && rule.key !== keyId) return false
  return operation === 'Decrypt' || (operation === 'Encrypt' && rule.direction === 'both')
}
