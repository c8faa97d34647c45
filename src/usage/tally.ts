/** Counts in memory: of requests by subject and minute, and of the uses of credentials. */
// SPDX-License-Identifier: Apache-2.0
import type { Subject } from './subject.ts'

export const MINUTE_MS = 60_000
export const HOUR_MS = 3_600_000

export interface Count {
  readonly subject: Subject
  /** Start of the minute, milliseconds since the Unix epoch. */
  readonly minute: number
  requests: number
  /** Wall time of the first and the last, milliseconds since the Unix epoch. */
  firstAt: number
  lastAt: number
}

export interface CredentialUse {
  readonly accessKeyId: string
  readonly keyStore: string
  /** Requests whose signature was right, whatever came of them. */
  uses: number
  firstAt: number
  lastAt: number
}

/** Adds `more` to `counts`, by minute and subject. */
export function addCounts(counts: Map<string, Count>, more: ReadonlyMap<string, Count>) {
  for (const [id, count] of more) put(counts, id, count)
  return counts
}

export function addUses(uses: Map<string, CredentialUse>, more: Map<string, CredentialUse>) {
  for (const [id, use] of more) {
    const before = uses.get(id)
    if (before === undefined) uses.set(id, use)
    else {
      before.uses += use.uses
      before.lastAt = Math.max(before.lastAt, use.lastAt)
    }
  }
  return uses
}

/** One more request of a subject. */
export function addRequest(count: Count, at: number): void {
  count.requests += 1
  if (at > count.lastAt) count.lastAt = at
  else if (at < count.firstAt) count.firstAt = at
}

/**
 * While the store cannot be written, minutes pile up. Beyond `limit` counts, those of a subject are put
 * together at its newest minute; and if that is not enough, the oldest lose their names.
 */
export function compact(pending: Map<string, Count>, limit: number): Map<string, Count> {
  if (pending.size <= limit) return pending
  const bySubject = new Map<string, Count>()
  for (const [id, count] of pending) put(bySubject, id.slice(id.indexOf(' ') + 1), count)
  let excess = bySubject.size - limit
  const compacted = new Map<string, Count>()
  for (const [key, count] of bySubject) {
    if (excess-- > 0) {
      const { keyStore, operation, outcome } = count.subject
      const subject = { keyStore, operation, outcome, isOverflow: true }
      put(compacted, `0 ${keyStore} ${operation} ${outcome}`, { ...count, subject })
    } else put(compacted, `${String(count.minute)} ${key}`, count)
  }
  return compacted
}

function put(counts: Map<string, Count>, id: string, count: Count): void {
  const before = counts.get(id)
  counts.set(id, before === undefined ? count : merge(before, count))
}

function merge(a: Count, b: Count): Count {
  const [older, newer] = a.minute <= b.minute ? [a, b] : [b, a]
  return {
    subject: a.subject,
    minute: newer.minute,
    requests: a.requests + b.requests,
    firstAt: Math.min(older.firstAt, newer.firstAt),
    lastAt: Math.max(older.lastAt, newer.lastAt),
  }
}
