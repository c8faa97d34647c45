/** The rules of the tripwire, and what it reports when one of them is broken. */
// SPDX-License-Identifier: Apache-2.0
import type { Scope } from '../core/scope.ts'

export type Measure =
  | 'decrypts' // answered Decrypts
  | 'denialPercent' // refused requests, as a share of all that could have been answered
  | 'newPrincipals' // callers that never used the key store or key before
  | 'newAccessClasses' // classes of access that were never seen before

export type Action = 'log' | 'throttle' | 'kill'

export interface TripwireRule {
  readonly name: string
  /** Absent for every key store. */
  readonly keyStore?: string
  /** Key id; needs `keyStore`. Absent for every key. */
  readonly key?: string
  /** Unit that is counted separately. */
  readonly per: 'key-store' | 'key' | 'principal'
  readonly measure: Measure
  /** Largest value that is still normal; in percent for `denialPercent`. */
  readonly limit: number
  readonly windowMs: number
  /** `denialPercent` is not judged before the window has this many requests. */
  readonly atLeast: number
  readonly action: Action
  /** Direction that `throttle` and `kill` stop. */
  readonly direction: 'decrypt' | 'both'
}

/** Unit that a rule counts separately. One field is set, or key store and key. */
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
   * The limit that applied in this process: a share of the rule's limit if there are several
   * processes.
   */
  readonly limit: number
}

/** A trip, for notifications, the log and the event log of the store. */
export interface TripwireEvent {
  readonly rule: string
  readonly measure: Measure
  /** Action that the rule asks for. */
  readonly action: Action
  /** Action that was carried out; with `mode: rehearse` always `log`. */
  readonly done: Action
  readonly subject: Subject
  readonly measured: number
  readonly limit: number
  readonly windowMs: number
  /** Wall time, milliseconds since the Unix epoch. */
  readonly at: number
}

/** Returns the scope of the kill switch that stops a subject, within the scope of its rule. */
export function toScope({ keyStore, key }: TripwireRule, subject: Subject): Scope {
  const { principal } = subject
  if (principal !== undefined) {
    // The criterion is a pattern, and an asterisk in a caller's own name must not widen it.
    const literal = principal.replaceAll('*', '?')
    const pattern = principal.includes(':assumed-role/') ? `${literal}/*` : literal
    // Switches cannot name a caller and a key together, so the caller is stopped in the whole key
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

/** Describes a subject in one line for people. */
export function describeSubject({ keyStore, keyId, principal }: Subject): string {
  if (principal !== undefined) return `principal ${principal}`
  return keyId === undefined ? `key store ${keyStore ?? ''}` : `key ${keyStore ?? ''}/${keyId}`
}

const DENIALS: ReadonlySet<string> = new Set([
  ...['AccessDeniedException', 'KeyNotFoundException', 'InvalidCiphertextException'],
])

/**
 * Reports whether a refusal says something about its caller. Refusals of a kill switch do not.
 */
export function isDenial(errorName: string | undefined, reason: string | undefined): boolean {
  return errorName !== undefined && DENIALS.has(errorName) && reason?.startsWith('KILLED') !== true
}
