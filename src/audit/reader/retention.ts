/** Prunes logs: records what is removed, then removes it, and completes what an interrupted call has left. */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import type { Signer } from '../../core/signature.ts'
import { TILE_WIDTH } from '../log/tiles.ts'
import { decodeEntry } from '../record.ts'
import { isOpenLog, listProcessLogs } from '../writer/log-folder.ts'
import { findLeftOver, pruneLog, type PruneStatement, removeLeftOver } from '../writer/pruning.ts'
import { bundlesOf, type OpenedLog, openLog, readBundle, widthOf } from './log-reader.ts'

export interface PruneOrder {
  /** Wall time in milliseconds: every entry that is removed is earlier. */
  readonly before: number
  readonly reason: string
  readonly operator: string
  /** False: only find what would be removed. */
  readonly isConfirmed: boolean
}

export interface PrunedLog {
  readonly folder: string
  readonly origin: string
  /** Number of entries that the log has had so far. */
  readonly size: number
  /** Number of its first entries that are pruned now, and that were before. */
  readonly entries: number
  readonly prunedBefore: number
  /** Bundles of entries that were pruned before, which an interrupted call has not removed. */
  readonly leftOver: number
}

/** Facts about a pruning for the control log. */
export type PruneDetail = Pick<PruneStatement, 'origin' | 'entries' | 'before' | 'reason'>

export interface PruneDeps {
  /** Folder of all logs. */
  readonly root: string
  /** Signs for the store that owns the logs. */
  readonly signer: Signer
  /** Records in the control log what is about to be removed. @returns wall time of the event, in milliseconds */
  readonly record: (operator: string, detail: PruneDetail) => Promise<number>
}

/**
 * Prunes the logs of processes. The control log is never pruned. A call that is interrupted after its event
 * leaves a log as it was, or entries that the next call removes.
 * @returns the logs from which entries were removed, or would be
 * @throws AuditError AUDIT_INVALID for a log that does not open, StorageError
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
