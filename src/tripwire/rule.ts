/** Tripwire rules, and the trips that they report. */
// SPDX-License-Identifier: Apache-2.0
import type { Scope } from '../core/scope.ts'

export type Measure =
  | 'decrypts' // answered Decrypts
  | 'denialPercent' // refused requests, as a percentage of all requests that could have been answered
  | 'newPrincipals' // callers that never used the key store or key before
  | 'newAccessClasses' // access classes that were never seen before

export type Action = 'log' | 'throttle' | 'kill'

export interface TripwireRule {
  readonly name: string
  /** Absent if the rule covers every key store. */
  readonly keyStore?: string
  /** Key id; needs `keyStore`. Absent if the rule covers every key. */
  readonly key?: string
  /** Unit for which the rule keeps separate counts. */
  readonly per: 'key-store' | 'key' | 'principal'
  readonly measure: Measure
  /** Highest value that is still normal; a percentage for `denialPercent`. */
  readonly limit: number
  readonly windowMs: number
  /** Minimum number of requests in the window before `denialPercent` is evaluated. */
  readonly atLeast: number
  readonly action: Action
  /** Direction that the `throttle` and `kill` actions block. */
  readonly direction: 'decrypt' | 'both'
}

/**
 * Unit for which a rule keeps separate counts. Exactly one field is set, except that a key also has
 * its key store.
 */
export interface Subject {
  readonly keyStore?: string
  readonly keyId?: string
  /** The caller, as core/caller.ts returns it. */
  readonly principal?: string
}

/** A rule that was broken. */
export interface Trip {
  readonly rule: TripwireRule
  readonly subject: Subject
  readonly measured: number
  /**
   * The limit that applied in this process. With several processes, it is a share of the rule's
   * limit.
   */
  readonly limit: number
}

/** A trip, as passed to notifications, the log and the store's event log. */
export interface TripwireEvent {
  readonly rule: string
  readonly measure: Measure
  /** Action that the rule asks for. */
  readonly action: Action
  /** Action taken; always `log` with `mode: rehearse`. */
  readonly done: Action
  readonly subject: Subject
  readonly measured: number
  readonly limit: number
  readonly windowMs: number
  /** Wall time, in milliseconds since the Unix epoch. */
  readonly at: number
}

/** Returns the scope of the kill switch that stops a subject, within the scope of its rule. */
export function toScope({ keyStore, key }: TripwireRule, subject: Subject): Scope {
  const { principal } = subject
  if (principal !== undefined) {
    // The criterion is a pattern, and an asterisk in a caller's own name must not widen it.
    const literal = principal.replaceAll('*', '?')
    const pattern = principal.includes(':assumed-role/') ? `${literal}/*` : literal
    // A switch cannot name both a caller and a key, so the caller is blocked for the entire key
    // store.
    const within = keyStore === undefined ? {} : { keyStore }
    return { kind: 'match', criteria: { principal: pattern }, ...within }
  }
  const inStore = subject.keyStore ?? keyStore ?? ''
  const keyId = subject.keyId ?? key
  return keyId === undefined
    ? { kind: 'key-store', keyStore: inStore }
    : { kind: 'key', keyStore: inStore, keyId }
}

/** Describes a subject in one line of text. */
export function describeSubject({ keyStore, keyId, principal }: Subject): string {
  if (principal !== undefined) return `principal ${principal}`
  return keyId === undefined ? `key store ${keyStore ?? ''}` : `key ${keyStore ?? ''}/${keyId}`
}

const DENIALS: ReadonlySet<string> = new Set([
  ...['AccessDeniedException', 'KeyNotFoundException', 'InvalidCiphertextException'],
])

/** Reports whether a refusal says something about the caller. Refusals by a kill switch do not. */
export function isDenial(errorName: string | undefined, reason: string | undefined): boolean {
  return errorName !== undefined && DENIALS.has(errorName) && reason?.startsWith('KILLED') !== true
}
