/**
 * Counts who used which key. Requests are counted in memory and written in the background, so a
 * crash loses the counts since the last flush.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { periodic, type Periodic } from '../core/periodic.ts'
import { type CountedRequest, type UsageKey, toKey, toOverflow, toUsageKey } from './usage-key.ts'

export const MINUTE_MS = 60_000
export const HOUR_MS = 3_600_000

export interface Count {
  readonly subject: UsageKey
  /** Start of the minute, in milliseconds since the Unix epoch. */
  readonly minute: number
  requests: number
  /** Wall time of the first and last request, in milliseconds since the Unix epoch. */
  firstAt: number
  lastAt: number
}

export interface CredentialUse {
  readonly accessKeyId: string
  readonly keyStore: string
  /** Number of requests with a valid signature, regardless of their outcome. */
  uses: number
  firstAt: number
  lastAt: number
}

/** Adds `more` to `counts`, by minute and subject. */
function addCounts(counts: Map<string, Count>, more: ReadonlyMap<string, Count>) {
  for (const [id, count] of more) put(counts, id, count)
  return counts
}

function addUses(uses: Map<string, CredentialUse>, more: Map<string, CredentialUse>) {
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

/** Counts one more request by a subject. */
function addRequest(count: Count, at: number): void {
  count.requests += 1
  if (at > count.lastAt) count.lastAt = at
  else if (at < count.firstAt) count.firstAt = at
}

/**
 * While the store cannot be written, counts accumulate minute by minute. Above `limit` counts, all
 * counts of a subject are merged into its newest minute. If that is not enough, the oldest subjects
 * are counted without their names.
 */
function compact(pending: Map<string, Count>, limit: number): Map<string, Count> {
  if (pending.size <= limit) return pending
  const bySubject = new Map<string, Count>()
  for (const [id, count] of pending) put(bySubject, id.slice(id.indexOf(' ') + 1), count)
  let excess = bySubject.size - limit
  const compacted = new Map<string, Count>()
  for (const [key, count] of bySubject) {
    if (excess-- > 0) {
      const { keyStore, operation, outcome } = count.subject
      const { isProbe } = count.subject
      const subject: UsageKey = {
        ...{ keyStore, operation, outcome, isOverflow: true },
        ...(isProbe === true ? { isProbe } : {}),
      }
      const mark = isProbe === true ? ' probe' : ''
      put(compacted, `0 ${keyStore} ${operation} ${outcome}${mark}`, { ...count, subject })
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

export interface Recorder {
  /** Runs synchronously, does no I/O, and never throws. */
  record(request: CountedRequest): void
  start(): void
  /**
   * Writes the pending counts. Never rejects: counts that could not be written are kept for the
   * next call.
   */
  flush(): Promise<void>
  /** Writes all remaining counts. Resolves whether or not that succeeds. */
  stop(): Promise<void>
  stats(): RecorderStats
}

export interface RecorderStats {
  /** Number of subjects whose counts have not been written yet. */
  readonly pending: number
  /**
   * Requests counted without caller and key since the recorder started, because `maxSubjects` was
   * reached.
   */
  readonly overflowed: number
  readonly failedFlushes: number
}

export interface RecorderDeps {
  /** Writes all counts or none. */
  readonly writeCounts: (counts: readonly Count[]) => Promise<void>
  /** Writes all uses or none. */
  readonly writeUses: (uses: readonly CredentialUse[]) => Promise<void>
  /** Called occasionally to delete old rows. */
  readonly purge: () => Promise<void>
  readonly clock: Clock
  readonly flushIntervalMs: number
  /** Maximum number of distinct subjects counted individually within one hour. */
  readonly maxSubjects: number
  readonly logger: Logger
}

/** Interval between purges of old rows. */
const PURGE_EVERY_MS = 10 * MINUTE_MS
const LAST_TRIES = 3
/** Maximum number of counts per statement. A slow statement would delay lease renewal. */
const SLICE = 100

export function createRecorder(deps: RecorderDeps): Recorder {
  const { clock, maxSubjects } = deps
  /** Counts, keyed by minute and subject. */
  let pending = new Map<string, Count>()
  let credentials = new Map<string, CredentialUse>()
  let known = new Set<string>()
  let hour = 0
  let minute = 0
  let overflowed = 0
  let failedFlushes = 0
  let failing = false
  let saidOverflow = false
  let purgedAt = -Infinity
  let flushing: Periodic | undefined
  let running: Promise<void> = Promise.resolve()

  /** Moves to the minute of `at`. Requests may finish out of order, and wall time may jump back. */
  function turnTo(at: number): void {
    const now = Math.floor(at / MINUTE_MS) * MINUTE_MS
    if (now > minute || minute - now > MINUTE_MS) minute = now
    const thisHour = Math.floor(minute / HOUR_MS)
    if (thisHour === hour) return
    hour = thisHour
    known = new Set()
    saidOverflow = false
  }

  function hasRoom(key: string): boolean {
    if (known.has(key)) return true
    if (known.size >= maxSubjects) return false
    known.add(key)
    return true
  }

  function sayOverflow(): void {
    overflowed += 1
    if (saidOverflow) return
    saidOverflow = true
    deps.logger.warn(
      'more callers than activity.maxSubjects; counting new callers without names for the rest of the hour',
      {
        maxSubjects,
      },
    )
  }

  function countSubject(request: CountedRequest): void {
    const { metadata, keyStore, operation } = request
    if (metadata === undefined || keyStore === undefined || operation === undefined) return
    const key = toKey(request, metadata)
    const id = `${String(minute)} ${key}`
    const found = pending.get(id)
    if (found !== undefined) {
      addRequest(found, request.at)
    } else if (hasRoom(key)) {
      pending.set(id, start(toUsageKey(request, metadata), request.at))
    } else {
      sayOverflow()
      const subject = toOverflow(request)
      const mark = request.isProbe === true ? ' probe' : ''
      const other = `${String(minute)} ${keyStore} ${operation} ${subject.outcome}${mark}`
      const overflow = pending.get(other)
      if (overflow !== undefined) addRequest(overflow, request.at)
      else pending.set(other, start(subject, request.at))
    }
  }

  function start(subject: UsageKey, at: number): Count {
    return { subject, minute, requests: 1, firstAt: at, lastAt: at }
  }

  function countCredential({ accessKeyId, keyStore, at }: CountedRequest): void {
    if (accessKeyId === undefined || keyStore === undefined) return
    const found = credentials.get(accessKeyId)
    if (found === undefined) {
      credentials.set(accessKeyId, { accessKeyId, keyStore, uses: 1, firstAt: at, lastAt: at })
    } else {
      found.uses += 1
      if (at > found.lastAt) found.lastAt = at
    }
  }

  async function write(): Promise<boolean> {
    if (pending.size === 0 && credentials.size === 0) return true
    const taken = [...pending]
    const uses = credentials
    pending = new Map()
    credentials = new Map()
    try {
      while (taken.length > 0) {
        await deps.writeCounts(taken.slice(0, SLICE).map(([, count]) => count))
        taken.splice(0, SLICE)
      }
      await deps.writeUses([...uses.values()])
      if (failing) deps.logger.warn('activity is being written again')
      failing = false
      return true
    } catch (error) {
      // Counts that were written before the failure are not written a second time.
      pending = compact(addCounts(new Map(taken), pending), 10 * maxSubjects)
      credentials = addUses(uses, credentials)
      failedFlushes += 1
      if (!failing)
        deps.logger.warn('could not write activity; keeping it in memory', { err: error })
      failing = true
      return false
    }
  }

  async function purge(): Promise<void> {
    if (clock.monotonic() - purgedAt < PURGE_EVERY_MS) return
    purgedAt = clock.monotonic()
    // A failed purge does no harm, because the next one deletes the same rows.
    await deps.purge().catch(() => undefined)
  }

  function flush(): Promise<void> {
    running = running.then(async () => {
      if (await write()) await purge()
    })
    return running
  }

  return {
    record(request) {
      turnTo(request.at)
      countCredential(request)
      countSubject(request)
    },
    start() {
      flushing = periodic({
        intervalMs: deps.flushIntervalMs,
        work: flush,
        onError: () => undefined, // flush never rejects
      })
    },
    flush,
    async stop() {
      await flushing?.stop()
      await running
      for (let tries = 1; tries <= LAST_TRIES; tries++) if (await write()) return
      const requests = [...pending.values()].reduce((sum, one) => sum + one.requests, 0)
      deps.logger.warn('activity lost: the store did not accept it before shutdown', { requests })
    },
    stats: () => ({ pending: pending.size, overflowed, failedFlushes }),
  }
}
