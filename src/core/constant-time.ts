/** Compares bytes in constant time, regardless of where they differ. */
// SPDX-License-Identifier: Apache-2.0
import { timingSafeEqual } from 'node:crypto'

/**
 * Returns immediately if the lengths differ: the length of the compared values is never a secret.
 */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
