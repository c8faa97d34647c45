/**
 * Prunes logs: records what is about to be removed, removes it, and finishes calls that were
 * interrupted earlier.
 */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import type { Signer } from '../../core/signature.ts'
import { TILE_WIDTH } from '../log/tiles.ts'
import { decodeEntry } from '../record.ts'
import { isOpenLog, listProcessLogs } from '../writer/log-folder.ts'
import { findLeftOver, pruneLog, type PruneStatement, removeLeftOver } from '../writer/pruning.ts'
import { bundlesOf, type OpenedLog, openLog, readBundle, widthOf } from './log-reader.ts'

export interface PruneOrder {
  /** Wall time in milliseconds; only earlier entries are removed. */
  readonly before: number
  readonly reason: string
  readonly operator: string
  /** If false, only reports what would be removed. */
  readonly isConfirmed: boolean
}

export interface PrunedLog {
  readonly folder: string
  readonly origin: string
  /** Total number of entries that the log has ever had. */
  readonly size: number
  /** Number of entries pruned from the beginning, by this call and by earlier ones. */
  readonly entries: number
  readonly prunedBefore: number
  /** Number of previously pruned bundles that an interrupted call left behind. */
  readonly leftOver: number
}

/** Details of a pruning, as recorded in the control log. */
export type PruneDetail = Pick<PruneStatement, 'origin' | 'entries' | 'before' | 'reason'>

export interface PruneDeps {
  /** Directory that contains all logs. */
  readonly root: string
  /** Signs on behalf of the store that owns the logs. */
  readonly signer: Signer
  /**
   * Records the planned removal in the control log.
   * @returns the event's wall time, in milliseconds
   */
  readonly record: (operator: string, detail: PruneDetail) => Promise<number>
}

/**
 * Prunes the processes' logs. The control log is never pruned. A call that is interrupted after
 * recording its event leaves the log unchanged, or leaves entries that the next call removes.
 * @returns the logs from which entries were or would be removed
 * @throws AuditError AUDIT_INVALID if a log cannot be opened; StorageError
 */
export async function pruneLogs(deps: PruneDeps, order: PruneOrder): Promise<readonly PrunedLog[]> {
  const { root, signer, record } = deps
  const { before, reason, operator, isConfirmed } = order
  const pruned: PrunedLog[] = []
  for (const name of await listProcessLogs(root)) {
    const folder = join(root, name)
    const log = await openLog(folder, signer.publicKey)
    const entries = countOlder(log, before)
    const left = await findLeftOver(folder, log.pruned)
    if (entries === log.pruned && left.length === 0) continue
    const { origin, size } = log.checkpoint
    pruned.push({
      ...{ folder, origin, size, entries, prunedBefore: log.pruned, leftOver: left.length },
    })
    if (!isConfirmed) continue
    await removeLeftOver(left)
    if (entries === log.pruned) continue
    const detail = { origin, entries, before: new Date(before).toISOString(), reason }
    const prunedAt = new Date(await record(operator, detail)).toISOString()
    const statement = { kind: 'audit pruned' as const, ...detail, operator, prunedAt }
    await pruneLog(folder, signer.sign(statement))
  }
  return pruned
}

/**
 * Returns how many entries at the beginning are all earlier than `before`, rounded down to whole
 * bundles. The last bundle counts only if the log is closed.
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
