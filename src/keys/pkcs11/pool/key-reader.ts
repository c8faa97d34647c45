/**
 * Reads all keys of a token at startup and at each refresh, through one of its workers, in steps
 * between requests.
 */
// SPDX-License-Identifier: Apache-2.0
import {
  type Call,
  encodeRef,
  type IndexReport,
  type ListedKey,
  type ShareReport,
} from '../wire/calls.ts'
import { nameToken } from './circuit-breaker.ts'
import type { PoolOptions } from './options.ts'
import { RunSchedule } from './run-schedule.ts'
import { TokenError } from './worker-process.ts'
import type { TokenWorker } from './worker.ts'

export interface KeyReaderDeps {
  readonly workers: () => readonly TokenWorker[]
  /** Whether requests are waiting for the token. */
  readonly isPressed: () => boolean
  /** Sends a call outside the queue. @throws TokenError */
  readonly ask: (worker: TokenWorker, call: Call) => Promise<unknown>
  /**
   * Called with the worker that knows the handle of a key, and with undefined once all workers know
   * all handles.
   */
  readonly onHome: (
    home: { readonly ref: string; readonly worker: TokenWorker } | undefined,
  ) => void
}

export interface KeyReaderEvents {
  /**
   * @param isFresh whether the run reports every key of the token; each call of the run passes some
   * of the keys
   */
  readonly onKeys: (entries: readonly ListedKey[], isFresh: boolean) => void
  /**
   * @param entries keys found by one of several workers that divide the keys among themselves
   * before the first run
   */
  readonly onShare: (entries: readonly ListedKey[]) => void
  /**
   * Called when a run is complete. Keys that a fresh run did not report no longer exist.
   * @param readUntil time on the monotonic clock in milliseconds: every key that was on the token
   * then, and still is, has been reported
   */
  readonly onRunEnd: (isFresh: boolean, readUntil: number) => void
  /** Returns the names of the keys that were used since the last call. Regular runs read them again. */
  readonly takeUsed: () => readonly string[]
}

/**
 * Delay before the next step while the worker or the queue is busy, and the maximum total delay, in
 * milliseconds.
 */
const BUSY_MS = 10
const MAX_BUSY_MS = 100
const RETRY_MS = 1000
const FIRST_RUN = 1
const FIRST_STEP: Call = { call: 'index', run: FIRST_RUN, again: [] }
/** Maximum time that the initial read waits for the minimum number of workers. */
const MAX_START_MS = 5000
/** On a token with more keys than this, a search by name is slow. */
const MANY_KEYS = 100
const PROGRESS_EVERY_MS = 5000

export class KeyReader {
  readonly #options: PoolOptions
  readonly #deps: KeyReaderDeps
  #isStopped = false
  #worker: TokenWorker | undefined
  #finished: () => void = () => undefined
  readonly #firstRun: Promise<void>
  readonly #named = new WeakSet<TokenWorker>()
  #total = 0
  #progressAt = Infinity
  readonly #schedule: RunSchedule

  constructor(options: PoolOptions, deps: KeyReaderDeps) {
    this.#options = options
    this.#deps = deps
    this.#schedule = new RunSchedule(options.config.keys.refreshMs, () => this.#now())
    this.#firstRun = new Promise((resolve) => {
      this.#finished = resolve
    })
  }

  /** Resolves when all keys have been read once, or the reader has stopped. */
  start(events: KeyReaderEvents): Promise<void> {
    void this.#readAlways(events)
    return this.#firstRun
  }

  stop(): void {
    this.#isStopped = true
    this.#finished()
  }

  async #readAlways(events: KeyReaderEvents): Promise<void> {
    this.#schedule.begin()
    await this.#readShares(events)
    for (let run = FIRST_RUN; !this.#isStopped; run++) {
      if (run !== FIRST_RUN) this.#schedule.begin()
      const again = run !== FIRST_RUN && this.#schedule.isRegular ? events.takeUsed() : []
      try {
        const delayMs = await this.#readOnce(events, run, again)
        this.#finished()
        this.#deps.onHome(undefined)
        await this.#sleep(delayMs)
      } catch (error) {
        // The pool has already reported the failure, and retries the worker. Meanwhile, keys are
        // looked up one by one.
        this.#schedule.fail()
        if (!(error instanceof TokenError)) this.#report(error)
        await this.#sleep(RETRY_MS)
      }
    }
  }

  /**
   * Divides the keys of a large token among all workers, so that they are known sooner. The first
   * run then reads all of them again. If the workers list the keys in different orders, some keys
   * are in no share, and one of them may have the same name as a key that was read. Then only the
   * first run completes the reading.
   */
  async #readShares(events: KeyReaderEvents): Promise<void> {
    const workers = await this.#waitForMinimum()
    const startedAt = this.#now()
    const reports = new Map<TokenWorker, IndexReport>()
    const fingerprints = new Set<string>()
    let aesKeys: number | undefined
    const log = (message: string, { total }: IndexReport) => {
      const left = [...reports.values()].reduce((sum, one) => sum + one.left, 0)
      this.#log(message, { total, left }, startedAt)
    }
    this.#progressAt = startedAt + PROGRESS_EVERY_MS
    const readShare = async (worker: TokenWorker, part: number, steps: number) => {
      for (let step = 0; step < steps; step++) {
        if ((await this.#waitFor(() => worker)) === undefined) return
        const call = { call: 'share', part, of: workers.length } as const
        const report = (await this.#deps.ask(worker, call)) as ShareReport
        reports.set(worker, report)
        for (const one of report.fingerprints) fingerprints.add(one)
        aesKeys ??= report.aesKeys
        events.onShare(report.entries)
        for (const { name, version } of report.entries)
          this.#deps.onHome({ ref: encodeRef(name, version), worker })
        if (report.isComplete) return
        if (this.#now() < this.#progressAt) continue
        this.#progressAt = this.#now() + PROGRESS_EVERY_MS
        log('reading the keys on a token', report)
      }
    }
    try {
      const [first, ...others] = workers
      if (first === undefined || others.length === 0) return
      await readShare(first, 0, 1)
      const report = reports.get(first)
      if (report === undefined || report.total <= MANY_KEYS) return
      await Promise.all(workers.map((worker, part) => readShare(worker, part, Infinity)))
      if (fingerprints.size !== (aesKeys ?? report.total)) return
      log('read all keys on a token', report)
      // The first run begins with a search that blocks its worker, so start the run before requests
      // arrive.
      this.#worker = first
      const begun = (await this.#deps.ask(first, FIRST_STEP)) as IndexReport
      events.onKeys(begun.entries, begun.isFresh)
      this.#finished()
    } catch (error) {
      // The first run also reads any keys that were missed because of the error.
      if (!(error instanceof TokenError)) this.#report(error)
    }
  }

  /** Waits briefly for the minimum number of workers. */
  async #waitForMinimum(): Promise<readonly TokenWorker[]> {
    const usable = () => this.#deps.workers().filter(({ isUsable }) => isUsable)
    const { min } = this.#options.config.sessions
    for (let waited = 0; waited < MAX_START_MS && usable().length < min; waited += BUSY_MS) {
      if (this.#isStopped) return []
      await this.#sleep(BUSY_MS)
    }
    return usable()
  }

  /** @returns the delay before the next run in milliseconds */
  async #readOnce(events: KeyReaderEvents, run: number, again: readonly string[]): Promise<number> {
    const startedAt = this.#now()
    this.#progressAt = startedAt + PROGRESS_EVERY_MS
    let asked = again
    for (;;) {
      const worker = await this.#waitForWorker()
      if (worker === undefined) return 0
      const call = { call: 'index', run, again: asked } as const
      const report = (await this.#deps.ask(worker, call)) as IndexReport
      this.#total = report.total
      this.nameHandles()
      asked = []
      events.onKeys(report.entries, report.isFresh)
      if (report.isComplete) {
        const delayMs = this.#schedule.complete(report.appeared)
        events.onRunEnd(report.isFresh, this.#schedule.readUntil)
        if (report.isFresh) this.#log('read all keys on a token', report, startedAt)
        return delayMs
      }
      if (this.#now() >= this.#progressAt) {
        this.#progressAt = this.#now() + PROGRESS_EVERY_MS
        this.#log('reading the keys on a token', report, startedAt)
      }
    }
  }

  /**
   * Makes every worker read the names of its handles once, except the worker that is reading the
   * keys. Must be called for each new worker.
   */
  nameHandles(): void {
    if (this.#total <= MANY_KEYS) return
    for (const worker of this.#deps.workers()) {
      if (worker === this.#worker || !worker.isUsable || this.#named.has(worker)) continue
      this.#named.add(worker)
      void this.#nameHandlesOf(worker).catch((error: unknown) => {
        if (!(error instanceof TokenError)) this.#report(error)
      })
    }
  }

  async #nameHandlesOf(worker: TokenWorker): Promise<void> {
    let left = Infinity
    while (left > 0 && (await this.#waitFor(() => worker)) !== undefined)
      left = (await this.#deps.ask(worker, { call: 'names' })) as number
  }

  #log(
    message: string,
    { total, left }: Pick<IndexReport, 'total' | 'left'>,
    startedAt: number,
  ): void {
    this.#options.logger.info(message, {
      ...nameToken(this.#options),
      ...{ keys: total, read: total - left, durationMs: Math.round(this.#now() - startedAt) },
    })
  }

  #report(err: unknown): void {
    this.#options.logger.error('could not read the keys on a token', {
      ...nameToken(this.#options),
      err,
    })
  }

  /**
   * Continues with the same worker, because another worker has different handles and would start
   * over.
   */
  #waitForWorker(): Promise<TokenWorker | undefined> {
    return this.#waitFor(() => {
      if (this.#worker?.isUsable !== true)
        this.#worker = this.#deps.workers().find(({ isUsable }) => isUsable)
      return this.#worker
    })
  }

  /**
   * Waits briefly until the worker is idle. Returns undefined after `stop`, or if the worker has
   * exited.
   */
  async #waitFor(choose: () => TokenWorker | undefined): Promise<TokenWorker | undefined> {
    for (let waited = 0; !this.#isStopped; waited += BUSY_MS) {
      const worker = choose()
      if (worker?.state === 'ended') return undefined
      const isIdle = worker?.process.size === 0 && !this.#deps.isPressed()
      if (worker?.isUsable === true && (isIdle || waited >= MAX_BUSY_MS)) return worker
      await this.#sleep(BUSY_MS)
    }
    return undefined
  }

  #sleep(ms: number): Promise<void> {
    // The timer delays the next step and is not a deadline. It does not keep the process alive, and
    // has no effect after `stop`.
    return new Promise((resolve) => setTimeout(resolve, ms).unref())
  }

  #now(): number {
    return this.#options.clock.monotonic()
  }
}
