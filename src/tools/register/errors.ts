/** Errors that stop a registration. */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError } from '../../core/errors.ts'

export type RegistrationErrorCode =
  | 'KMS_REFUSED' // KMS answered with an exception, or could not be asked
  | 'PREFLIGHT_FAILED' // a check of ours found what KMS would refuse
  | 'STORE_DIFFERS' // KMS has a key store of this name with other settings
  | 'CREDENTIAL_STALE' // KMS signs with a credential that is not active here
  | 'CONNECT_FAILED' // KMS could not connect the key store; the message has its code
  | 'CONNECT_TIMEOUT' // KMS did not connect, or disconnect, the key store in time
  | 'KMS_ROUND_TRIP_FAILED' // Decrypt by KMS yielded another data key than was made
  | 'STORE_HAS_KEYS' // KMS keys are, or could be, in the key store
  | 'STORE_UNKNOWN' // KMS has no key store of this name
  | 'ROTATION_WAITS' // the old credential is still in use, or the new one is not yet

export class RegistrationError extends LatchkeyError<RegistrationErrorCode> {
  override readonly name: string = 'RegistrationError'
}
