/** What a kill switch is: scope, direction, reason, operator. */
// SPDX-License-Identifier: Apache-2.0
import type { Direction, Scope } from '../core/scope.ts'

export interface Switch {
  readonly id: string
  readonly scope: Scope
  readonly direction: Direction
  readonly reason: string
  readonly operator: string
  /** Wall time, milliseconds since the Unix epoch. */
  readonly createdAt: number
  /** Of the store when it took effect. */
  readonly epoch: number
  /** Wall time after which it is lifted by itself; absent: never. */
  readonly until?: number
}

/** Who does something. */
export interface Actor {
  /** The name that is recorded. */
  readonly operator: string
  /** `token:NAME`, `certificate:NAME` or `os:USER`: what tells two people apart, whatever name they give. */
  readonly identity: string
}

/** One person, also when it comes by different doors, or when two give the same name. */
export function isSamePerson(a: Actor, b: Actor): boolean {
  const subjectOf = ({ identity }: Actor) => identity.slice(identity.indexOf(':') + 1)
  return subjectOf(a) === subjectOf(b) || a.operator === b.operator
}

/** A key store that is open only while its owner renews it: silence closes it. */
export interface DeadManSwitch {
  readonly keyStore: string
  /** How long a renewal lasts, in milliseconds. */
  readonly ttlMs: number
  readonly renewedAt: number
  /** By the clock of the database. */
  readonly openUntil: number
  readonly reason: string
  readonly operator: string
}
