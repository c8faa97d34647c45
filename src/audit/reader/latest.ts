/**
 * Reads the newest entries in the newest logs for display. It reads only a few files, even if the
 * logs are large.
 */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import { AuditError } from '../errors.ts'
import type { AuditEntry } from '../record.ts'
import { listProcessLogs } from '../writer/log-folder.ts'
import { openLog } from './log-reader.ts'
import { searchLog } from './search.ts'

export interface LogSummary {
  /** The log's directory name. */
  readonly name: string
  /** Absent, like `size`, if the log cannot be opened. */
  readonly host?: string
  /** Number of entries that the checkpoint covers. */
  readonly size?: number
  /** Reason the log cannot be opened. */
  readonly fault?: string
}

export interface LatestEntries {
  /** Newest first. */
  readonly logs: readonly LogSummary[]
  /** Request entries, newest first. They are not checked against the tree. */
  readonly entries: readonly AuditEntry[]
}

export interface LatestOptions {
  /** Maximum number of logs to open, and of entries to return. */
  readonly logs: number
  readonly entries: number
}

/** @param publicKey the store's public key, which certifies the logs' keys */
export async function readLatest(
  root: string,
  publicKey: string,
  most: LatestOptions,
): Promise<LatestEntries> {
  const names = (await listProcessLogs(root)).slice(-most.logs).reverse()
  const logs: LogSummary[] = []
  const found: AuditEntry[] = []
  for (const name of names) {
    try {
      const log = await openLog(join(root, name), publicKey)
      const { size } = log.checkpoint
      logs.push({ name, host: log.certificate.host ?? '', size })
      const from = Math.max(log.pruned, size - most.entries)
      for (const { entry } of searchLog(log, {}, from)) found.push(entry)
    } catch (error) {
      if (!(error instanceof AuditError)) throw error
      logs.push({ name, fault: error.remoteMessage })
    }
  }
  const timeOf = ({ time = '' }: AuditEntry) => time
  found.sort((a, b) => (timeOf(a) < timeOf(b) ? 1 : -1))
  return { logs, entries: found.slice(0, most.entries) }
}
