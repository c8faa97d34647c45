/**
 * Reads the newest entries of the newest logs for display. It reads few files, however large the
 * logs are.
 */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import { AuditError } from '../errors.ts'
import type { AuditEntry } from '../record.ts'
import { listProcessLogs } from '../writer/log-folder.ts'
import { openLog } from './log-reader.ts'
import { searchLog } from './search.ts'

export interface LogSummary {
  /** Name of its folder. */
  readonly name: string
  /** Absent if the log cannot be opened; so is `size`. */
  readonly host?: string
  /** Number of entries that the checkpoint covers. */
  readonly size?: number
  /** Why the log cannot be opened. */
  readonly fault?: string
}

export interface LatestEntries {
  /** Newest first. */
  readonly logs: readonly LogSummary[]
  /** Entries of requests, newest first. They are not checked against the tree. */
  readonly entries: readonly AuditEntry[]
}

export interface LatestOptions {
  /** Largest number of logs to open, and of entries to return. */
  readonly logs: number
  readonly entries: number
}

/** @param publicKey public key of the store, which certifies the keys of the logs */
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
      logs.push({ name, fault: error.message })
    }
  }
  const timeOf = ({ time = '' }: AuditEntry) => time
  found.sort((a, b) => (timeOf(a) < timeOf(b) ? 1 : -1))
  return { logs, entries: found.slice(0, most.entries) }
}
