/** When a kill cannot be written: the first line says what stops a host now. */
// SPDX-License-Identifier: Apache-2.0
import { ConfigError } from '../../config/faults.ts'
import { LatchkeyError } from '../../core/errors.ts'
import { ControlError } from '../../killswitch/model.ts'
import { StorageError } from '../../store/database.ts'
import { UsageError } from '../../terminal/command.ts'

/** @param sentinelFile undefined where the configuration does not say */
export function withWayToStop(error: unknown, sentinelFile: string | undefined): unknown {
  if (!(error instanceof Error) || error instanceof UsageError) return error
  // The switch is written, and its error says what holds it up.
  if (error instanceof ControlError) return error
  if (error instanceof TypeError || error instanceof RangeError) return error
  const touch = sentinelFile === undefined ? '' : `touch ${sentinelFile} there, or `
  const message = `no kill is confirmed; to stop a host now, ${touch}send its latchkey SIGUSR2 (${error.message})`
  const { code } = error as { readonly code?: unknown }
  const hint = error instanceof LatchkeyError ? error.hint : undefined
  const options = { cause: error, hint: hint ?? 'then run the same command again' }
  if (error instanceof StorageError) return new StorageError(error.code, message, options)
  if (error instanceof ConfigError) return new LatchkeyError(error.code, message, options)
  return typeof code === 'string' ? new LatchkeyError(code, message, options) : error
}
