/** Why the gate refuses, and what goes wrong when somebody works the kill switch. */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError, type ErrorOptionsWithHint } from '../core/errors.ts'

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
