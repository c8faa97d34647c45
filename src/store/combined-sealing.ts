/** Combines the sealings of two store keys, for as long as data sealed with either key is valid. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyObject } from 'node:crypto'
import { verifyRows } from './row-codes/row-codes.ts'
import {
  createSealingOf,
  derive,
  type KeySealing,
  type Sealing,
  type SealingKeys,
} from './sealing.ts'

type FindSealing = () => KeySealing | undefined

/**
 * Each function is called at every use, so that the combined sealing always uses the keys that the
 * process holds at that moment.
 */
export interface SealingParts {
  readonly writing: () => KeySealing
  /** A second sealing to verify with, if there is one. */
  readonly other: FindSealing
  /**
   * Sealing with the key whose possession this process proves, if that key is newer than the key
   * that seals.
   */
  readonly newer: FindSealing
  readonly purposeKey: () => KeyObject
}

export function combineSealings({ writing, other, newer, purposeKey }: SealingParts): Sealing {
  const newest = () => newer() ?? writing()
  return {
    wrap: (context, secret) => writing().wrap(context, secret),
    unwrap(context, wrapped) {
      const second = other()
      if (second === undefined) return writing().unwrap(context, wrapped)
      try {
        return writing().unwrap(context, wrapped)
      } catch {
        return second.unwrap(context, wrapped)
      }
    },
    authenticate: (fields) => writing().authenticate(fields),
    code: (fields) => writing().code(fields),
    codeWith: (fields, mac) => writing().codeWith(fields, mac) ?? other()?.codeWith(fields, mac),
    verifyRows: (rows) => verifyRows(rows, writing().rowKey(), other()?.rowKey()),
    isAuthentic: (fields, mac) =>
      writing().isAuthentic(fields, mac) || other()?.isAuthentic(fields, mac) === true,
    prove: (fields) => newest().authenticate(fields),
    isProven: (fields, mac) => newest().isAuthentic(fields, mac),
    derive: (purpose) => derive(purposeKey(), purpose),
  }
}

/**
 * Verifies with any of the keys.
 * @param keys one or two
 */
export function createVerifyingSealing([first, second]: readonly SealingKeys[]): Sealing {
  if (first === undefined) throw new TypeError('expected at least one store key')
  const one = createSealingOf(first)
  const other = second === undefined ? undefined : createSealingOf(second)
  return combineSealings({
    writing: () => one,
    other: () => other,
    newer: () => undefined,
    purposeKey: () => first.purpose,
  })
}
