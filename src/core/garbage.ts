/** Collects garbage at a time when it delays no request. */
// SPDX-License-Identifier: Apache-2.0
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * Collects all garbage of this thread. Blocks the event loop for up to half a second with 300 MB of
 * objects.
 */
export function collectGarbage(): void {
  // V8 adds the function to contexts that are created while the flag is set.
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  setFlagsFromString('--no-expose-gc')
  collect()
}
