/** Finds the entries of a log that are old enough to be pruned. */
// SPDX-License-Identifier: Apache-2.0
import { TILE_WIDTH } from '../log/tiles.ts'
import { decodeEntry } from '../record.ts'
import { isOpenLog } from '../writer/log-folder.ts'
import { bundlesOf, type OpenedLog, readBundle, widthOf } from './log-reader.ts'

/**
 * Returns the number of entries at the beginning that are all earlier than `before`, in whole bundles.
 * The last bundle counts only if the log is closed.
 * @param before wall time in milliseconds
 */
export function countOlder({ folder, checkpoint, pruned }: OpenedLog, before: number): number {
  const { size } = checkpoint
  const isOpen = isOpenLog(folder)
  let count = pruned
  for (let bundle = Math.ceil(pruned / TILE_WIDTH); bundle < bundlesOf(size); bundle++) {
    const width = widthOf(bundle, size)
    const entries = readBundle(folder, bundle, width)
    if (entries === undefined || (isOpen && width < TILE_WIDTH)) break
    const isOld = entries.every((bytes) => {
      const time = decodeEntry(bytes)?.time
      return time === undefined || Date.parse(time) < before
    })
    if (!isOld) break
    count = bundle * TILE_WIDTH + width
  }
  return count
}
