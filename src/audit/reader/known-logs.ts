/** Derives what is known about the logs of processes from the events of a store. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { CONTROL_LOG } from '../writer/log-folder.ts'
import { decodeEntry } from '../record.ts'
import { openLog, readEntries } from './log-reader.ts'
import type { KnownHead, KnownLog } from './verify-log.ts'

/** An event of the store, read from the store itself or from the control log. */
export interface LogEvent {
  readonly kind: string
  readonly detail: Readonly<Record<string, unknown>>
}

const HEADS: ReadonlySet<string> = new Set(['audit-closed', 'audit-recovered', 'audit-head'])

/**
 * Returns the logs that were opened, by origin.
 * @param source name of the source, for messages
 */
export function toKnownLogs(
  events: Iterable<LogEvent>,
  source: string,
): ReadonlyMap<string, KnownLog> {
  const logs = new Map<string, KnownLog & { readonly heads: KnownHead[] }>()
  for (const { kind, detail } of events) {
    const { origin, verifierKey, host, size, root } = detail
    if (typeof origin !== 'string') continue
    const known = logs.get(origin)
    if (kind === 'audit-opened') {
      logs.set(origin, {
        heads: known?.heads ?? [],
        verifierKey: typeof verifierKey === 'string' ? verifierKey : undefined,
        host: typeof host === 'string' ? host : undefined,
      })
    }
    if (!HEADS.has(kind)) continue
    const head = { size: Number(size), root: Buffer.from(String(root), 'base64'), source }
    if (known === undefined) logs.set(origin, { heads: [head] })
    else known.heads.push(head)
  }
  return logs
}

/**
 * Reads the events of a published control log. `audit verify` verifies that log like the others. Empty if
 * there is none, or if its key is not that of the store.
 */
export async function readControlEvents(
  root: string,
  publicKey: string,
): Promise<readonly LogEvent[]> {
  const folder = join(root, CONTROL_LOG)
  if (!existsSync(folder)) return []
  const log = await openLog(folder, publicKey).catch(() => undefined)
  if (log === undefined) return []
  const events: LogEvent[] = []
  for (const { bytes } of readEntries(folder, log.checkpoint.size)) {
    const entry = decodeEntry(bytes)
    const kind = entry?.['event']
    const detail = entry?.['detail']
    // Only the start, the end and each head of a log count; other events are not about logs.
    if (typeof kind !== 'string' || !kind.startsWith('audit-')) continue
    if (typeof detail === 'object') events.push({ kind, detail: detail as LogEvent['detail'] })
  }
  return events
}
