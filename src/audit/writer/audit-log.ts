/**
 * The event loop's side of a process's audit log: it encodes records as entries, and hands them
 * over in batches to a thread that writes them.
 */
// SPDX-License-Identifier: Apache-2.0
import { Worker } from 'node:worker_threads'
import type { RequestRecord } from '../../core/request.ts'
import { type AuditError, unwritableLog } from '../errors.ts'
import type { HashPrincipal } from '../principal-hash.ts'
import { encodeMark } from '../record.ts'
import { createRequestEncoder, type RequestEncoder } from '../request-encoder.ts'
import { EntryBuffer, type EntryRange } from './entry-buffer.ts'
import type { AuditThreadData, FromThread, PublishedHead, ToThread } from './protocol.ts'

/**
 * Maximum number of entries waiting for the thread. Once it is reached, `record` drops entries and
 * `recordDurably` rejects them. The stop entry is exempt, because it counts those that were lost.
 */
const MAX_QUEUED = 50_000
/**
 * Maximum delay in milliseconds before an entry that no response waits for is sent to the thread.
 * Each batch costs a sync, and a crash may lose a batch that is not written yet (docs/audit.md).
 */
const COLLECT_MS = 50

export interface AuditStats {
  /** Number of entries on disk. */
  readonly written: number
  /** Number of entries that could not be written. */
  readonly lost: number
  /** Number of entries waiting for the disk. */
  readonly queued: number
  /** Tree size of the last checkpoint. */
  readonly published: number
  /** The last checkpoint; undefined before the first. */
  readonly head: PublishedHead | undefined
  /** Reason the last batch could not be written; undefined if it was written. */
  readonly failure: string | undefined
}

export interface AuditLog {
  /** Queues a request's entry without waiting. Never throws. */
  record(record: RequestRecord): void
  /**
   * Writes a request's entry before the response is sent, and resolves once the entry is on disk. A
   * later `record` for the same request writes a second entry only if the response has changed.
   * @throws AuditError AUDIT_UNWRITABLE
   */
  recordDurably(record: RequestRecord): Promise<void>
  stats(): AuditStats
  /**
   * Writes all queued entries and the last checkpoint; later entries are lost. Returns the
   * checkpoint's head; undefined if writing failed.
   */
  stop(time: string): Promise<PublishedHead | undefined>
}

export interface AuditLogOptions extends AuditThreadData {
  /** Fields of the first entry. */
  readonly start: Readonly<Record<string, string | number>>
  /** Set if entries must not name callers. */
  readonly hashPrincipal?: HashPrincipal | undefined
  /** Called when writes begin to fail and when they recover. Must not throw. */
  readonly onFailing: (why: string) => void
  readonly onWorking: (lost: number) => void
}

/** A batch sent to the thread but not acknowledged yet. */
interface Batch {
  readonly ticket: number
  readonly range: EntryRange
  /** Number of entries that were lost before this batch and that its entries report as lost. */
  readonly lostBefore: number
  readonly waiters: readonly Waiter[]
}

type Encode = (seq: number, lost: number) => string

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: AuditError) => void
}

/** @throws AuditError AUDIT_UNWRITABLE if the thread cannot write its first entry */
export async function startAuditLog(options: AuditLogOptions): Promise<AuditLog> {
  const log = new ThreadedLog(options)
  await log.start(options.start)
  return log
}

class ThreadedLog implements AuditLog {
  readonly #options: AuditLogOptions
  readonly #thread: Worker
  readonly #sent: Batch[] = []
  readonly #entries = new EntryBuffer()
  readonly #encode: RequestEncoder
  #waiters: Waiter[] = []
  #timer: NodeJS.Timeout | undefined
  #isFlushing = false
  #ticket = 0
  #seq = 0
  /** Number of entries lost since the last one was written. */
  #gap = 0
  /** Number of lost entries that the next batch will report. */
  #lostBefore = 0
  #queued = 0
  #written = 0
  #lost = 0
  #head: PublishedHead | undefined
  #failure: string | undefined
  /** Set once the thread has exited; nothing can be written after that. */
  #end: string | undefined
  /** Set once `stop` is called. Later entries are lost. */
  #closing: string | undefined
  #closed: ((head: PublishedHead | undefined) => void) | undefined
  /** Durable entries by record, until the response has been sent. */
  readonly #durable = new WeakMap<RequestRecord, { seq: number; status: number | undefined }>()

  constructor(options: AuditLogOptions) {
    this.#options = options
    this.#encode = createRequestEncoder(options.hashPrincipal)
    const { folder, origin, seed, checkpointMs } = options
    const workerData: AuditThreadData = { folder, origin, seed, checkpointMs }
    const script = `./thread.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`
    this.#thread = new Worker(new URL(script, import.meta.url), { workerData })
    this.#thread.on('message', this.#take)
    this.#thread.on('error', ({ message }) => {
      this.#die(message)
    })
    this.#thread.on('exit', () => {
      this.#die("the audit log's thread has ended")
    })
  }

  start(fields: AuditLogOptions['start']): Promise<void> {
    return this.#pushDurably((seq) => encodeMark('start', { ...fields, seq }))
  }

  record(record: RequestRecord): void {
    const earlier = this.#durable.get(record)
    if (earlier !== undefined && earlier.status === record.status) return
    this.#push((seq, lost) => this.#encode(record, { seq, lost, corrects: earlier?.seq }))
  }

  async recordDurably(record: RequestRecord): Promise<void> {
    try {
      await this.#pushDurably((seq, lost) => {
        this.#durable.set(record, { seq, status: record.status })
        return this.#encode(record, { seq, lost })
      })
    } catch (error) {
      this.#durable.delete(record)
      throw error
    }
  }

  stats(): AuditStats {
    return {
      ...{ written: this.#written, lost: this.#lost, queued: this.#queued, head: this.#head },
      ...{ published: this.#head?.size ?? 0, failure: this.#end ?? this.#failure },
    }
  }

  async stop(time: string): Promise<PublishedHead | undefined> {
    const stop = this.#pushDurably((seq, lost) => encodeMark('stop', { seq, time, lost }), true)
    // Nothing may follow this entry, because `audit verify` would report it as a problem.
    this.#closing = 'the log is closed'
    const endsInGap = await stop.then(() => false).catch(() => true)
    if (this.#end !== undefined) return undefined
    const head = new Promise<PublishedHead | undefined>((resolve) => (this.#closed = resolve))
    this.#flush()
    this.#thread.postMessage({ kind: 'close', endsInGap } satisfies ToThread)
    const result = await head
    await this.#thread.terminate()
    return endsInGap ? undefined : result
  }

  /** Returns false if the entry was lost. */
  #push(encode: Encode, isExempt = false): boolean {
    const seq = this.#seq++
    const isFull = this.#queued >= MAX_QUEUED && !isExempt
    if (isFull || (this.#end ?? this.#closing) !== undefined) {
      this.#lose(1)
      return false
    }
    const text = encode(seq, this.#gap)
    if (!this.#entries.fits(text)) this.#flush()
    if (!this.#entries.add(text, isExempt)) {
      this.#lose(1)
      return false
    }
    this.#queued += 1
    this.#lostBefore += this.#gap
    this.#gap = 0
    // The flush cancels the timer.
    this.#timer ??= setTimeout(this.#flush, COLLECT_MS)
    return true
  }

  #pushDurably(encode: Encode, isExempt = false): Promise<void> {
    if (!this.#push(encode, isExempt)) {
      const why =
        this.#end ?? this.#closing ?? 'the write queue is full because the disk is too slow'
      return Promise.reject(unwritableLog(why))
    }
    // Requests in the same event-loop turn share a batch. The thread also merges batches.
    this.#flushSoon()
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject })
    })
  }

  #flushSoon(): void {
    if (this.#isFlushing) return
    this.#isFlushing = true
    setImmediate(this.#flush)
  }

  readonly #flush = (): void => {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#isFlushing = false
    const range = this.#entries.take()
    if (range === undefined) return
    const ticket = ++this.#ticket
    this.#sent.push({ ticket, range, lostBefore: this.#lostBefore, waiters: this.#waiters })
    this.#lostBefore = 0
    this.#waiters = []
    const { bytes, count } = range
    this.#thread.postMessage({ kind: 'append', ticket, bytes, count } satisfies ToThread)
  }

  readonly #take = (message: FromThread): void => {
    switch (message.kind) {
      case 'durable':
        this.#settle(message.upTo)
        break
      case 'refused':
        this.#settle(message.from - 1)
        this.#settle(message.upTo, message.why)
        break
      case 'published':
        this.#head = { size: message.size, root: message.root }
        break
      case 'unpublished':
        this.#fail(message.why)
        break
      case 'closed':
        this.#closed?.(this.#failure === undefined ? message : undefined)
        this.#closed = undefined
        break
    }
  }

  /** @param why reason for the failure; absent if the batches up to ticket `upTo` are on disk */
  #settle(upTo: number, why?: string): void {
    while ((this.#sent[0]?.ticket ?? Infinity) <= upTo) {
      const batch = this.#sent.shift()
      if (batch === undefined) return
      this.#entries.release(batch.range)
      this.#queued -= batch.range.count
      if (why === undefined) this.#succeed(batch)
      else {
        this.#lose(batch.range.count)
        this.#gap += batch.lostBefore
        this.#fail(why)
        for (const { reject } of batch.waiters) reject(unwritableLog(why))
      }
    }
  }

  #succeed({ range, waiters }: Batch): void {
    this.#written += range.count
    if (this.#failure !== undefined) {
      this.#failure = undefined
      this.#options.onWorking(this.#lost)
    }
    for (const { resolve } of waiters) resolve()
  }

  #lose(count: number): void {
    this.#gap += count
    this.#lost += count
  }

  #fail(why: string): void {
    if (this.#failure === undefined) this.#options.onFailing(why)
    this.#failure = why
  }

  #die(why: string): void {
    if (this.#end !== undefined) return
    this.#end = why
    // Fail the queued entries. After a stop, no entries are left when the thread exits.
    this.#flush()
    this.#settle(Infinity, why)
    this.#closed?.(undefined)
    this.#closed = undefined
  }
}
