/** Numbers as they are given on the command line. */
// SPDX-License-Identifier: Apache-2.0
import { stringFlag, UsageError, type Context } from '../command.ts'

/** @throws UsageError */
export function countFlag(
  context: Context,
  name: string,
  {
    otherwise,
    least,
    most,
  }: { readonly otherwise: number; readonly least: number; readonly most: number },
): number {
  const text = stringFlag(context, name)
  if (text === undefined) return otherwise
  const count = Number(text)
  if (!/^\d+$/.test(text) || count < least || count > most) {
    throw new UsageError('USAGE', `--${name} is a number from ${String(least)} to ${String(most)}`)
  }
  return count
}
