/** Collects garbage at a time when it delays no request. */
// SPDX-License-Identifier: Apache-2.0
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/**
 * Collects all garbage of this thread. Blocks the event loop for up to half a second with 300 MB of
 * objects. Does nothing if V8 does not provide the function.
 * @returns whether garbage was collected
 */
export function collectGarbage(): boolean {
  const collect = findCollector()
  collect?.()
  return collect !== undefined
}

function findCollector(): (() => void) | undefined {
  try {
    // V8 adds the function to contexts that are created while the flag is set.
    setFlagsFromString('--expose-gc')
    return runInNewContext('gc') as () => void
  } catch {
    // The context has no such name.
    return undefined
  } finally {
    setFlagsFromString('--no-expose-gc')
  }
}
