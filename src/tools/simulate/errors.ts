/** How a simulation can end badly. */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError } from '../../core/errors.ts'

export type SimulationErrorCode =
  | 'SIMULATION_FAILED' // a step of the story did not go as it should
  | 'RESTORE_WAITS' // what was killed is restored only after a delay or by a second person

export class SimulationError extends LatchkeyError<SimulationErrorCode> {
  override readonly name = 'SimulationError'
}
