/** Runs the workers of one token. Assigns requests to usable workers and replaces unusable ones. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../../core/clock.ts'
import type { Deadline } from '../../../core/deadline.ts'
import { BackendError } from '../../errors.ts'
import type { ManagerHealth } from '../../key-backend.ts'
import type { Call, TokenFacts } from '../wire/calls.ts'
import { toBackendError } from '../wire/errors.ts'
import { CALL } from '../wire/protocol.ts'
import { reportAddOn } from './circuit-breaker.ts'
import { KeyReader, type KeyReaderEvents } from './key-reader.ts'
import type { PoolOptions, TokenStats } from './options.ts'
import { type QueuedRequest, RequestQueue, encodeHead } from './queue.ts'
import type { Answer, Outcome, TokenError } from './worker-process.ts'
import { WorkerSupervisor } from './worker-supervisor.ts'
import type { TokenWorker } from './worker.ts'

/**
 * A request is retried after a token failure only if at least this many milliseconds remain before
 * its deadline.
 */
const RETRY_IF_LEFT_MS = 50
const RETRY_AFTER_MS = 15
const MAX_ATTEMPTS = 3
/**
 * Timeout for an index step. A step may search all keys of the token, which can take longer than an
 * operation.
 */
const INDEX_MS = 5000
/**
 * A worker that knows the handle is preferred while it has fewer than this many requests in flight;
 * other workers would have to search for the handle.
 */
const MAX_AT_HOME = 4

export class TokenPool {
  readonly #options: PoolOptions
  readonly #clock: Clock
  readonly #queue: RequestQueue
  readonly #workers: WorkerSupervisor
  readonly #keyReader: KeyReader
  #facts: TokenFacts | undefined
  /** The worker that knows the handle of a key, by key name, until all workers know all handles. */
  readonly #homes = new Map<string, TokenWorker>()

  constructor(options: PoolOptions) {
    this.#options = options
    this.#clock = options.clock
    this.#queue = new RequestQueue(options.clock, (request) => {
      this.#expire(request)
    })
    this.#workers = new WorkerSupervisor(options, {
      isPressed: (waitedMs) => this.#queue.waitedMs >= waitedMs,
      onUsable: (worker) => {
        if (this.#facts === undefined) reportAddOn(options, worker.facts)
        this.#facts = worker.facts ?? this.#facts
        this.#pump()
        this.#keyReader.nameHandles()
      },
      onOpen: () => {
        for (const request of this.#queue.takeWaiting()) this.#fail(request, this.#refusal())
      },
    })
    this.#keyReader = new KeyReader(options, {
      workers: () => this.#workers.all,
      isPressed: () => this.#queue.waiting > 0,
      ask: (worker, call) => this.#workers.ask(worker, call, INDEX_MS),
      onHome: (home) => {
        if (home === undefined) this.#homes.clear()
        else this.#homes.set(home.ref, home.worker)
      },
    })
  }

  /** Resolves when the token is logged in or is unavailable for now. @throws BackendError MISCONFIGURED */
  start(): Promise<void> {
    return this.#workers.start()
  }

  /** Tries a new PIN; see WorkerSupervisor.setPin. */
  setPin(pin: string): Promise<void> {
    return this.#workers.setPin(pin)
  }

  stop(): void {
    this.#workers.stop()
    this.#queue.stop()
    this.#keyReader.stop()
    for (const request of this.#queue.takeWaiting()) this.#fail(request, closed())
  }

  /** Reads all keys now and at each refresh. Resolves once they have been read, or at `stop`. */
  readKeys(events: KeyReaderEvents): Promise<void> {
    return this.#keyReader.start(events)
  }

  /** Undefined until the first login. */
  get metadata(): TokenFacts | undefined {
    return this.#facts
  }

  /** Whether a request would be accepted at the moment. */
  get isUsable(): boolean {
    return this.#workers.circuit !== 'open'
  }

  /** Number of queued and in-flight requests. */
  get load(): number {
    return this.#queue.waiting + this.#workers.busy
  }

  /** Process ids, for tests. */
  get pids(): readonly number[] {
    return this.#workers.all.flatMap(({ process: { pid } }) => (pid === undefined ? [] : [pid]))
  }

  /**
   * @param attemptMs time in milliseconds for this attempt, shorter than the deadline if there is
   * another token to try
   */
  send(
    kind: number,
    flags: number,
    parts: readonly Buffer[],
    deadline: Deadline,
    attemptMs = Infinity,
  ): Promise<Answer> {
    const now = this.#clock.monotonic()
    const { operationMs } = this.#options.config.deadlines
    const left = Math.min(deadline.remainingMs, attemptMs, kind === CALL ? Infinity : operationMs)
    return new Promise((resolve, reject) => {
      const request: QueuedRequest = {
        kind,
        flags,
        parts,
        resolve,
        reject,
        queuedAt: now,
        endsAt: now + left,
        attempts: 0,
        worker: undefined,
        isOver: false,
      }
      if (this.#workers.circuit === 'open') reject(this.#refusal())
      else if (left <= 0) reject(tooLate())
      else this.#admit(request)
    })
  }

  /** @throws BackendError */
  async call(call: Call, deadline: Deadline): Promise<unknown> {
    const body = [Buffer.from(JSON.stringify(call))]
    return (await this.send(CALL, 0, body, deadline)).value
  }

  async health(deadline: Deadline): Promise<ManagerHealth['status']> {
    try {
      await this.call({ call: 'health' }, deadline)
      return this.#workers.isComplete ? 'ACTIVE' : 'DEGRADED'
    } catch (error) {
      if (!(error instanceof BackendError)) throw error
      // A full queue is not a failure of the token.
      return error.code === 'BUSY' ? 'DEGRADED' : 'UNAVAILABLE'
    }
  }

  stats(id: string): TokenStats {
    const { circuit, isComplete, ready, max, restarts, all } = this.#workers
    return {
      id,
      state: circuit === 'open' ? 'UNAVAILABLE' : isComplete ? 'ACTIVE' : 'DEGRADED',
      circuit,
      sessions: { open: ready, busy: this.#workers.busyWorkers, max },
      queued: this.#queue.waiting,
      hosts: all.length,
      restarts,
    }
  }

  #admit(request: QueuedRequest): void {
    const worker = this.#queue.waiting === 0 ? this.#choose(request) : undefined
    if (worker === undefined && this.#queue.waiting >= this.#options.config.maxQueued) {
      request.reject(new BackendError('BUSY', 'too many operations are waiting for the token'))
      return
    }
    this.#queue.watch(request)
    if (worker === undefined) this.#queue.push(request)
    else this.#run(request, worker)
  }

  #choose({ parts: [ref] }: QueuedRequest): TokenWorker | undefined {
    const home = this.#homes.size === 0 ? undefined : this.#homes.get(ref?.toString('latin1') ?? '')
    const isFree = home?.isUsable === true && home.process.size < MAX_AT_HOME
    return isFree ? home : this.#workers.choose()
  }

  /** Assigns waiting requests to workers that have room. */
  #pump(): void {
    while (this.#queue.waiting > 0) {
      const worker = this.#workers.choose()
      const request = worker && this.#queue.shift(this.#expectedMs(worker))
      if (worker === undefined || request === undefined) return
      this.#run(request, worker)
    }
  }

  /**
   * Returns the expected duration of a request, with an upper limit. Otherwise, a mean from a
   * slower period could cause the rejection of a request that has most of its time left.
   */
  #expectedMs(worker: TokenWorker): number {
    return Math.min(worker.serviceMs, this.#options.config.deadlines.operationMs / 2)
  }

  #run(request: QueuedRequest, worker: TokenWorker): void {
    request.worker = worker
    request.attempts += 1
    const { kind, parts, flags } = request
    const now = this.#clock.monotonic()
    worker.lastUsedAt = now
    try {
      const body = kind === CALL ? parts : [encodeHead(request.endsAt - now, flags), ...parts]
      worker.process.send(kind, body, request, this.#outcome)
    } catch (error) {
      this.#fail(request, new BackendError('UNAVAILABLE', 'internal error', { cause: error }))
    }
  }

  readonly #outcome: Outcome<QueuedRequest> = {
    onAnswer: (request, answer) => {
      const { worker } = request
      if (worker !== undefined) {
        worker.onServed(answer.serviceMs)
        this.#workers.onAnswer(worker)
      }
      if (this.#close(request)) request.resolve(answer)
      this.#pump()
    },
    onFailure: (request, error) => {
      if (request.worker !== undefined) this.#refused(request, request.worker, error)
      this.#pump()
    },
  }

  #refused(request: QueuedRequest, worker: TokenWorker, error: TokenError): void {
    const { wire } = error
    const isTokens = wire.code === 'UNAVAILABLE' && wire.recovery !== 'drop'
    if (isTokens) this.#workers.onFailure(worker, wire)
    else this.#workers.onAnswer(worker)
    if (request.isOver) return
    const left = request.endsAt - this.#clock.monotonic()
    if (!isTokens || request.attempts >= MAX_ATTEMPTS || left < RETRY_IF_LEFT_MS) {
      this.#fail(request, error.toBackendError())
      return
    }
    request.worker = undefined
    // The timer puts the request back into the queue, so no call waits while it runs.
    setTimeout(() => {
      if (request.isOver) return
      if (this.#workers.circuit === 'open') this.#fail(request, this.#refusal())
      else {
        this.#queue.unshift(request)
        this.#pump()
      }
    }, RETRY_AFTER_MS)
  }

  #expire(request: QueuedRequest): void {
    if (request.worker !== undefined) this.#workers.onOverdue(request.worker)
    request.reject(tooLate())
  }

  #fail(request: QueuedRequest, error: BackendError): void {
    if (this.#close(request)) request.reject(error)
  }

  /** Returns false if no caller is waiting for the request any longer. */
  #close(request: QueuedRequest): boolean {
    if (request.isOver) return false
    this.#queue.close(request)
    return true
  }

  #refusal(): BackendError {
    const { refusal } = this.#workers
    return refusal === undefined ? closed() : toBackendError(refusal)
  }
}

function tooLate(): BackendError {
  return new BackendError('TIMEOUT', 'the token did not respond in time')
}

function closed(): BackendError {
  return new BackendError('UNAVAILABLE', 'the backend is closed')
}
