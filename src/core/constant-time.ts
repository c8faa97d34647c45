/** Comparison of bytes in time that does not depend on where they differ. */
// SPDX-License-Identifier: Apache-2.0
import { timingSafeEqual } from 'node:crypto'

/** Unequal lengths are unequal at once: the length of what we compare is never a secret. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}
