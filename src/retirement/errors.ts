/** Errors of `latchkey keys retire` and of the later commands of a retirement. */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError } from '../core/errors.ts'

export type RetirementErrorCode =
  | 'NOT_QUIET' // the version was used to decrypt too recently, or the usage record cannot rule this out
  | 'ALREADY_RETIRED' // the version is being retired, or its destruction has begun
  | 'NO_RETIREMENT' // the version is not being retired
  | 'NOT_APPROVED' // no second person has approved the retirement

export class RetirementError extends LatchkeyError<RetirementErrorCode> {
  override readonly name = 'RetirementError'
}
