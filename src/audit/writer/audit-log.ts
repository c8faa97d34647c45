/**
 * The audit log of one process, as its event loop sees it: records become entries, entries become
 * batches, and a thread writes them.
 */
// SPDX-License-Identifier: Apache-2.0
import { Worker } from 'node:worker_threads'
import type { RequestRecord } from '../../core/request.ts'
import { AuditError } from '../errors.ts'
import type { HashPrincipal } from '../principal-hash.ts'
import { encodeMark, encodeRequest } from '../record.ts'
import type { AuditThreadData, FromThread, PublishedHead, ToThread } from './protocol.ts'

/**
 * Maximum number of entries waiting for the thread. Beyond it, `buffered` loses entries and
 * `strict` refuses them.
 */
const MAX_QUEUED = 50_000
const BATCH = 64
/** How long an incomplete batch waits for more entries. */
const BATCH_MS = 3

export interface AuditStats {
  /** Number of entries on disk. */
  readonly written: number
  /** Number of entries that could not be written. */
  readonly lost: number
  /** Number of entries waiting for the disk. */
  readonly queued: number
  /** Size of the tree of the last checkpoint. */
  readonly published: number
  /** The last checkpoint; undefined before the first. */
  readonly head: PublishedHead | undefined
  /** Why the last batch could not be written; undefined if it was written. */
  readonly failure: string | undefined
}

export interface AuditLog {
  /** Writes the entry of a request, and does not wait. Never throws. */
  record(record: RequestRecord): void
  /**
   * Writes the entry of a request that is about to be answered, and resolves once it is on the disk.
   * A later `record` of the same request writes a second entry only if the answer changed.
   * @throws AuditError AUDIT_UNWRITABLE
   */
  recordDurably(record: RequestRecord): Promise<void>
  stats(): AuditStats
  /** Writes what is queued and the last checkpoint. Returns its head; undefined if it failed. */
  stop(time: string): Promise<PublishedHead | undefined>
}

export interface AuditLogOptions extends AuditThreadData {
  /** Fields of the first entry. */
  readonly start: Readonly<Record<string, string | number>>
  /** Set if entries must not name callers. */
  readonly hashPrincipal?: HashPrincipal | undefined
  /** Called when entries cannot be written, and when they can again. Must not throw. */
  readonly onFailing: (why: string) => void
  readonly onWorking: (lost: number) => void
}

/** A batch sent to the thread and not answered yet. */
interface Batch {
  readonly ticket: number
  readonly count: number
  /** Number of entries lost before this batch; the entries of this batch report them. */
  readonly lostBefore: number
  readonly waiters: readonly Waiter[]
}

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
  #entries: string[] = []
  #waiters: Waiter[] = []
  #timer: NodeJS.Timeout | undefined
  #isFlushing = false
  #ticket = 0
  #seq = 0
  /** Number of entries lost since the last one. */
  #gap = 0
  /** Number of lost entries that the next batch reports. */
  #lostBefore = 0
  #queued = 0
  #written = 0
  #lost = 0
  #head: PublishedHead | undefined
  #failure: string | undefined
  /** Set once the thread has ended, after which nothing can be written. */
  #end: string | undefined
  #closed: ((head: PublishedHead | undefined) => void) | undefined
  /** Durable entries by record, until the answer has been sent. */
  readonly #durable = new WeakMap<RequestRecord, { seq: number; status: number | undefined }>()

  constructor(options: AuditLogOptions) {
    this.#options = options
    const { folder, origin, seed, checkpointMs } = options
    const workerData: AuditThreadData = { folder, origin, seed, checkpointMs }
    const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
    this.#thread = new Worker(new URL(`./thread.${extension}`, import.meta.url), { workerData })
    this.#thread.on('message', (message: FromThread) => {
      this.#take(message)
    })
    this.#thread.on('error', (error) => {
      this.#die(error.message)
    })
    this.#thread.on('exit', () => {
      this.#die('the thread of the audit log has ended')
    })
  }

  start(fields: AuditLogOptions['start']): Promise<void> {
    return this.#pushDurably((seq) => encodeMark('start', { ...fields, seq }))
  }

  record(record: RequestRecord): void {
    const earlier = this.#durable.get(record)
    if (earlier !== undefined && earlier.status === record.status) return
    this.#push((seq, lost) =>
      encodeRequest(record, { seq, lost, corrects: earlier?.seq }, this.#options.hashPrincipal),
    )
  }

  async recordDurably(record: RequestRecord): Promise<void> {
    try {
      await this.#pushDurably((seq, lost) => {
        this.#durable.set(record, { seq, status: record.status })
        return encodeRequest(record, { seq, lost }, this.#options.hashPrincipal)
      })
    } catch (error) {
      this.#durable.delete(record)
      throw error
    }
  }

  stats(): AuditStats {
    return {
      ...{ written: this.#written, lost: this.#lost, queued: this.#queued },
      ...{ published: this.#head?.size ?? 0, head: this.#head },
      failure: this.#end ?? this.#failure,
    }
  }

  async stop(time: string): Promise<PublishedHead | undefined> {
    const stop = (seq: number, lost: number) => encodeMark('stop', { seq, time, lost })
    await this.#pushDurably(stop).catch(() => undefined)
    if (this.#end !== undefined) return undefined
    const head = new Promise<PublishedHead | undefined>((resolve) => {
      this.#closed = resolve
    })
    this.#post({ kind: 'close' })
    const result = await head
    await this.#thread.terminate()
    return result
  }

  /** Returns false if the entry is lost. */
  #push(encode: (seq: number, lost: number) => string): boolean {
    const seq = this.#seq++
    if (this.#end !== undefined || this.#queued >= MAX_QUEUED) {
      this.#lose(1)
      return false
    }
    this.#queued += 1
    this.#entries.push(encode(seq, this.#gap))
    this.#lostBefore += this.#gap
    this.#gap = 0
    // The timer is cleared by the flush.
    if (this.#entries.length < BATCH) this.#timer ??= setTimeout(this.#flush, BATCH_MS)
    else this.#flushSoon()
    return true
  }

  #pushDurably(encode: (seq: number, lost: number) => string): Promise<void> {
    if (!this.#push(encode)) {
      return Promise.reject(unwritable(this.#end ?? 'the disk is too slow: the queue is full'))
    }
    // Requests of one turn of the event loop share a batch, and the thread merges batches anyway.
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
    if (this.#entries.length === 0) return
    const entries = this.#entries
    const ticket = ++this.#ticket
    const lostBefore = this.#lostBefore
    this.#sent.push({ ticket, count: entries.length, lostBefore, waiters: this.#waiters })
    this.#entries = []
    this.#lostBefore = 0
    this.#waiters = []
    this.#post({ kind: 'append', ticket, entries })
  }

  #post(message: ToThread): void {
    this.#thread.postMessage(message)
  }

  #take(message: FromThread): void {
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
      case 'ready':
        break
    }
  }

  /** @param why reason of a failure; absent if the batches up to this ticket are on the disk */
  #settle(upTo: number, why?: string): void {
    while ((this.#sent[0]?.ticket ?? Infinity) <= upTo) {
      const batch = this.#sent.shift()
      if (batch === undefined) return
      this.#queued -= batch.count
      if (why === undefined) this.#succeed(batch)
      else {
        this.#lose(batch.count)
        this.#gap += batch.lostBefore
        this.#fail(why)
        for (const { reject } of batch.waiters) reject(unwritable(why))
      }
    }
  }

  #succeed({ count, waiters }: Batch): void {
    this.#written += count
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
    // After a stop, the thread exits on its own with nothing outstanding.
    this.#flush()
    this.#settle(Infinity, why)
    this.#closed?.(undefined)
    this.#closed = undefined
  }
}

function unwritable(why: string): AuditError {
  return new AuditError('AUDIT_UNWRITABLE', `the audit log cannot be written: ${why}`)
}
