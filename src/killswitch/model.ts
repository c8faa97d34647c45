/** The data of a kill switch: its scope, direction, reason and operator. */
// SPDX-License-Identifier: Apache-2.0
import { type ErrorOptionsWithHint, LatchkeyError } from '../core/errors.ts'
import type { Direction, Scope } from '../core/scope.ts'

export interface Switch {
  readonly id: string
  readonly scope: Scope
  readonly direction: Direction
  readonly reason: string
  readonly operator: string
  /** Wall time in milliseconds since the Unix epoch. */
  readonly createdAt: number
  /** Epoch of the store at which the switch took effect. */
  readonly epoch: number
  /**
   * Wall time at which the switch is lifted automatically; absent if it is lifted only by an
   * operator.
   */
  readonly until?: number
}

/** The person or machine that is acting. */
export interface Actor {
  /** The name to record. */
  readonly operator: string
  /**
   * `token:PERSON`, `certificate:PERSON` or `os:USER`. It distinguishes two people even if they
   * give the same operator name.
   */
  readonly identity: string
}

/**
 * Reports whether both actors count as one person: they have the same operator name, or identities
 * that differ only in the prefix, as when one person uses both the command line and the admin
 * listener.
 */
export function isSamePerson(a: Actor, b: Actor): boolean {
  const subjectOf = ({ identity }: Actor) => identity.slice(identity.indexOf(':') + 1)
  return subjectOf(a) === subjectOf(b) || a.operator === b.operator
}

/** A key store that stays open only while its owner renews it. */
export interface DeadManSwitch {
  readonly keyStore: string
  /** Time in milliseconds for which each renewal keeps the key store open. */
  readonly ttlMs: number
  readonly renewedAt: number
  /** Wall time until which the key store stays open, by the database's clock. */
  readonly openUntil: number
  readonly reason: string
  readonly operator: string
}

export type GateErrorCode =
  | 'KILLED_ALL' // a kill switch stops all requests
  | 'KILLED_STORE' // a kill switch stops requests to the key store
  | 'KILLED_KEY' // a kill switch stops requests for the key
  | 'KILLED_MATCH' // a kill switch matches this request's metadata
  | 'ACCESS_DEADLINE' // the dead man's switch of the key store was closed, or not renewed in time
  | 'LEASE_EXPIRED' // the control store was not read in time, so the current switches are unknown
  | 'EPOCH_WENT_BACK' // the control store is, or may be, at an earlier epoch than one already seen
  | 'STORE_LOST' // the control store was removed, replaced or changed outside of Latchkey
  | 'HIGH_WATER_UNWRITABLE' // this instance cannot store the highest epoch, so it could trust an old store later
  | 'SENTINEL' // the sentinel file exists, or its path cannot be read
  | 'SIGNAL' // the process received SIGUSR2
  | 'STOPPED' // this instance is shutting down

/**
 * A refusal that KMS does not retry; xks/error-map.ts maps each code to the name that KMS receives.
 */
export class GateError extends LatchkeyError<GateErrorCode> {
  override readonly name = 'GateError'
}

export type ControlErrorCode =
  | 'NOTHING_KILLED' // no switch in force has this id or scope
  | 'NOT_READY' // the delay before a restore has not passed yet
  | 'SAME_PERSON' // the person who requested a restore cannot approve it
  | 'NO_SUCH_REQUEST' // there is no restore request with this id
  | 'REQUEST_EXPIRED' // the restore request was not approved in time
  | 'RESTORE_NEEDED' // reopening a key store, or ending its dead man's switch, needs the same permission as a restore
  | 'NO_SUCH_RECEIPT' // there is no receipt for this switch
  | 'NOT_REVOKED' // the wait timed out before every instance had acknowledged the kill or lost its lease
  | 'RESTORED_MEANWHILE' // the switch was lifted while `kill` waited for the instances

export class ControlError extends LatchkeyError<ControlErrorCode> {
  override readonly name = 'ControlError'

  constructor(code: ControlErrorCode, message: string, options: ErrorOptionsWithHint = {}) {
    super(code, message, options)
  }
}
