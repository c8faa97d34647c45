/** What a kill switch is: scope, direction, reason, operator. */
// SPDX-License-Identifier: Apache-2.0
import { type ErrorOptionsWithHint, LatchkeyError } from '../core/errors.ts'
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

export type GateErrorCode =
  | 'KILLED_ALL' // a kill switch for everything
  | 'KILLED_STORE' // a kill switch for the key store
  | 'KILLED_KEY' // a kill switch for the key
  | 'KILLED_MATCH' // a kill switch for what the request's metadata says
  | 'ACCESS_DEADLINE' // the dead man's switch of the key store was closed, or not renewed in time
  | 'LEASE_EXPIRED' // the control store was not read in time, so nobody knows what is killed
  | 'EPOCH_WENT_BACK' // the control store is older than what was seen before: a backup was put back
  | 'STORE_LOST' // the control store was removed, replaced or changed from outside
  | 'HIGH_WATER_UNWRITABLE' // this instance cannot keep its mark of the epoch, so it would believe an old store later
  | 'SENTINEL' // the sentinel file is there, or cannot be looked for
  | 'SIGNAL' // SIGUSR2
  | 'STOPPED' // this instance is going down

/** Every one becomes InvalidStateException: blocked, and not to be tried again (XKS 1.0.3, Error codes). */
export class GateError extends LatchkeyError<GateErrorCode> {
  override readonly name = 'GateError'
}

export type ControlErrorCode =
  | 'NOTHING_KILLED' // no switch in force has this id or scope
  | 'NOT_READY' // the delay before a restoration has not passed yet
  | 'SAME_PERSON' // the person who asked for a restoration cannot approve it
  | 'NO_SUCH_REQUEST' // no restoration was asked for under this id
  | 'REQUEST_EXPIRED' // the request to restore was not approved in time
  | 'RESTORE_NEEDED' // reopening a key store, or ending its dead man's switch, needs what restoring needs
  | 'NO_SUCH_RECEIPT' // no receipt is about this switch
  | 'NOT_REVOKED' // the wait ended before every instance had acknowledged or lost its lease
  | 'RESTORED_MEANWHILE' // the switch was lifted while `kill` waited for the instances

export class ControlError extends LatchkeyError<ControlErrorCode> {
  override readonly name = 'ControlError'

  constructor(code: ControlErrorCode, message: string, options: ErrorOptionsWithHint = {}) {
    super(code, message, options)
  }
}
