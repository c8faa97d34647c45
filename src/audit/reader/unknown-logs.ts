/**
 * Finds logs that are valid in themselves, but that the control log does not record. The store
 * records each log before its process writes the first checkpoint, so such a log was planted by
 * someone who holds the store's key, belongs to a copy of the store, or dates from after the backup
 * that the store was restored from.
 */
// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path'
import type { Problem } from './problem.ts'
import type { KnownLog, LogReport } from './verify-log.ts'

/** The control log's record of the processes' logs. */
export interface LogRecord {
  /** The processes' logs, by origin. */
  readonly known: ReadonlyMap<string, KnownLog>
  /** Name of the source, for messages. */
  readonly source: 'the store' | 'the control log'
  /**
   * Wall time of the newest event in a published control log, in milliseconds since the Unix epoch.
   * Undefined for the store itself, which has every event.
   */
  readonly lastAt: number | undefined
}

export interface UnknownLog extends Problem {
  /** Name of the log's folder. */
  readonly log: string
}

export interface UnknownLogs {
  readonly unknown: readonly UnknownLog[]
  /** Names of logs that are newer than the published control log, which may record them later. */
  readonly newer: readonly string[]
}

/**
 * A published control log may lag behind the store by a few seconds, and the hosts' clocks differ.
 */
const MARGIN_MS = 60_000

export interface UnknownLogsOptions {
  readonly record: LogRecord | undefined
  /** Reads the record again, for a log that was opened after `record` was read. */
  readonly reread: () => Promise<LogRecord | undefined>
  /** Wall time in milliseconds since the Unix epoch. */
  readonly now: number
}

export async function findUnknownLogs(
  reports: readonly Pick<LogReport, 'folder' | 'origin' | 'isControl' | 'startedAt'>[],
  { record, reread, now }: UnknownLogsOptions,
): Promise<UnknownLogs> {
  const isUnknown = ({ known }: LogRecord, { origin, isControl }: (typeof reports)[number]) =>
    origin !== undefined && !isControl && !known.has(origin)
  const none: UnknownLogs = { unknown: [], newer: [] }
  if (record === undefined || !reports.some((one) => isUnknown(record, one))) return none
  const fresh = await reread()
  if (fresh === undefined) return none
  const { source, lastAt } = fresh
  const found = reports.filter((one) => isUnknown(fresh, one))
  const isNewer = ({ startedAt = '' }: (typeof reports)[number]) => {
    const at = Date.parse(startedAt)
    // An attacker can choose the start time of a planted log. If it were in the distant future, no
    // control log would ever be newer.
    return lastAt !== undefined && at >= lastAt - MARGIN_MS && at <= now + MARGIN_MS
  }
  return {
    unknown: found
      .filter((one) => !isNewer(one))
      .map(({ folder }) => ({
        ...{ log: basename(folder), kind: 'unknown' },
        message: `${source} has no record of this log, although its key is certified`,
      })),
    newer: found.filter(isNewer).map(({ folder }) => basename(folder)),
  }
}
