/** Derives from the store's events what is known about the processes' logs. */
// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { CONTROL_LOG } from '../writer/log-folder.ts'
import { decodeEntry } from '../record.ts'
import { openLog, readEntries } from './log-reader.ts'
import type { KnownHead, KnownLog } from './verify-log.ts'

/** A store event, read from the store itself or from the control log. */
export interface LogEvent {
  readonly kind: string
  readonly detail: Readonly<Record<string, unknown>>
}

const HEADS: ReadonlySet<string> = new Set(['audit-closed', 'audit-recovered', 'audit-head'])

/**
 * Returns the logs that were opened, by origin.
 * @param source the source's name, for messages
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

export interface PublishedEvents {
  /** The events about the processes' logs. */
  readonly events: readonly LogEvent[]
  /** Wall time of the newest event of any kind, in milliseconds since the Unix epoch. */
  readonly lastAt: number
}

/**
 * Reads the events in a published control log, which `audit verify` verifies like any other log.
 * Returns undefined if the log is missing or its key is not the store's.
 */
export async function readControlEvents(
  root: string,
  publicKey: string,
): Promise<PublishedEvents | undefined> {
  const folder = join(root, CONTROL_LOG)
  if (!existsSync(folder)) return undefined
  const log = await openLog(folder, publicKey).catch(() => undefined)
  if (log === undefined) return undefined
  const events: LogEvent[] = []
  let lastAt = 0
  for (const { bytes } of readEntries(folder, log.checkpoint.size)) {
    const entry = decodeEntry(bytes)
    const kind = entry?.['event']
    lastAt = Math.max(lastAt, Date.parse(String(entry?.time)) || 0)
    const detail = entry?.['detail']
    // Only events whose kind starts with `audit-` are about logs.
    if (typeof kind !== 'string' || !kind.startsWith('audit-')) continue
    if (typeof detail === 'object') events.push({ kind, detail: detail as LogEvent['detail'] })
  }
  return { events, lastAt }
}
