/** Keeps enough workers of a token alive: starts, watches, tests and kills them. */
// SPDX-License-Identifier: Apache-2.0
import { periodic, type Periodic } from '../../../core/periodic.ts'
import type { Call, StartCall } from '../wire/calls.ts'
import { Circuit, nameToken } from './circuit-breaker.ts'
import { toBackendError, type WireFailure } from '../wire/errors.ts'
import { TokenError } from './worker-process.ts'
import { TokenWorker } from './worker.ts'
import { toStartCall, type CircuitState, type PoolOptions } from './options.ts'

export interface WorkerEvents {
  /** Reports whether a request has been waiting for at least this many milliseconds. */
  readonly isPressed: (waitedMs: number) => boolean
  readonly onUsable: (worker: TokenWorker) => void
  /** Called when no request can be served, to reject waiting requests. */
  readonly onOpen: () => void
}

const TICK_MS = 50
/** Consecutive failures after which a worker gets no requests until it passes a test. */
const MAX_FAILURES = 3
/** Consecutive failed tests after which a worker is replaced. */
const MAX_PROBES = 3
const FIRST_BACKOFF_MS = 50
const MAX_BACKOFF_MS = 1000
/** Interval in milliseconds between start attempts while no worker is usable and starts hang. */
const RESTART_EVERY_MS = 1000
const MAX_STARTING = 3
/** A request that waits this many milliseconds triggers the start of another worker. */
const PRESSED_AFTER_MS = 20

export class WorkerSupervisor {
  readonly #options: PoolOptions
  readonly #events: WorkerEvents
  #call: StartCall
  readonly #circuit: Circuit
  #workers: TokenWorker[] = []
  #ticking: Periodic | undefined
  #hasStarted = false
  #isStopped = false
  #backoff = 0
  #nextStartAt = 0
  #started = 0
  #maxSessions = Infinity

  constructor(options: PoolOptions, events: WorkerEvents) {
    this.#options = options
    this.#events = events
    this.#circuit = new Circuit(options, events.onOpen)
    this.#call = toStartCall(options)
  }

  get all(): readonly TokenWorker[] {
    return this.#workers
  }

  get ready(): number {
    return this.#workers.filter(({ state }) => state === 'ready').length
  }

  get busy(): number {
    return this.#workers.reduce((sum, worker) => sum + worker.process.size, 0)
  }

  get busyWorkers(): number {
    return this.#workers.filter(({ state, process }) => state === 'ready' && process.size > 0)
      .length
  }

  get max(): number {
    return Math.min(this.#options.config.sessions.max, this.#maxSessions)
  }

  get restarts(): number {
    return Math.max(0, this.#started - this.max)
  }

  /** Whether the minimum number of workers is running and usable. */
  get isComplete(): boolean {
    const { min } = this.#options.config.sessions
    return this.#workers.filter(({ isUsable }) => isUsable).length >= min
  }

  get refusal(): WireFailure | undefined {
    return this.#isStopped ? undefined : this.#circuit.refusal
  }

  get circuit(): CircuitState {
    return this.#isStopped ? 'open' : this.#circuit.state(this.#isUsable)
  }

  /** @throws BackendError MISCONFIGURED */
  async start(): Promise<void> {
    const failure = await this.#startWorker()
    if (failure?.code === 'MISCONFIGURED' || failure?.recovery === 'stop') {
      this.stop()
      const hint = 'check the PIN at backends[].tokens[].pin; it was tried once'
      throw toBackendError({ hint, ...failure, code: 'MISCONFIGURED' })
    }
    this.#hasStarted = true
    const { logger } = this.#options
    this.#ticking = periodic({
      ...{ intervalMs: TICK_MS, work: this.#tick },
      onError: (err) => {
        logger.error('could not check the PKCS#11 workers', { err })
      },
    })
    this.#tick()
  }

  /** Applies a new PIN. If the token has refused the previous one, one worker tries the new one once. */
  async setPin(pin: string): Promise<void> {
    if (pin === this.#call.pin) return
    this.#call = { ...this.#call, pin }
    if (!this.#circuit.isLocked || this.#isStopped) return
    this.#hasStarted = false
    this.#circuit.unlock()
    await this.#startWorker()
    this.#hasStarted = true
  }

  stop(): void {
    this.#isStopped = true
    void this.#ticking?.stop()
    for (const worker of this.#workers.splice(0)) worker.kill()
  }

  /** Returns the worker with the most room, if any has room. */
  choose(): TokenWorker | undefined {
    let best: TokenWorker | undefined
    let room = 0
    for (const worker of this.#workers) {
      const own = worker.room
      if (own > room) [best, room] = [worker, own]
    }
    return best
  }

  /** Records a response, or a refusal that is not the token's fault. */
  onAnswer(worker: TokenWorker): void {
    worker.failures = 0
    worker.overdueSince = undefined
    if (worker.state !== 'ready') return
    this.#backoff = 0
    this.#circuit.close()
  }

  onFailure(worker: TokenWorker, failure: WireFailure): void {
    this.#circuit.blame(failure)
    worker.overdueSince = undefined
    worker.failures += 1
    if (failure.recovery === 'stop') this.#lock(worker, failure)
    else if (worker.state === 'ready' && worker.failures >= MAX_FAILURES) {
      worker.state = 'faulty'
      worker.failures = 0
      worker.probeAt = this.#now()
    }
  }

  onOverdue(worker: TokenWorker): void {
    worker.overdueSince ??= this.#now()
    this.#circuit.blame({ code: 'TIMEOUT', message: 'the token does not respond' })
  }

  /** Sends a call outside the queue; a worker that exceeds `lateAfterMs` hangs. @throws TokenError */
  async ask(worker: TokenWorker, call: Call, lateAfterMs: number): Promise<unknown> {
    // The timer is cleared as soon as the worker responds.
    const overdue = setTimeout(this.onOverdue.bind(this), lateAfterMs, worker)
    try {
      const value = await worker.process.call(call)
      worker.overdueSince = undefined
      return value
    } finally {
      clearTimeout(overdue)
    }
  }

  get #isUsable(): boolean {
    return this.#workers.some(({ isUsable }) => isUsable)
  }

  #lock(worker: TokenWorker, failure: WireFailure): void {
    // A worker with an old PIN is replaced by one with the current PIN.
    const isCurrent = worker.pin === this.#call.pin
    if (isCurrent) this.#circuit.lock(failure)
    for (const one of isCurrent ? [...this.#workers] : [worker]) one.kill()
  }

  #now(): number {
    return this.#options.clock.monotonic()
  }

  readonly #tick = (): void => {
    if (this.#isStopped || this.#circuit.isLocked) return
    const now = this.#now()
    const { logger } = this.#options
    const { deadlines, heartbeatMs } = this.#options.config
    for (const worker of [...this.#workers]) {
      if (worker.overdueSince !== undefined && now - worker.overdueSince >= deadlines.stuckMs) {
        logger.warn('PKCS#11 worker does not respond; replacing it', nameToken(this.#options))
        worker.kill()
      } else if (worker.isLate(deadlines.startMs)) worker.kill()
      else if (worker.state === 'faulty' && now >= worker.probeAt) this.#probe(worker)
      else if (
        worker.isUsable &&
        worker.process.size === 0 &&
        now - worker.lastUsedAt >= heartbeatMs
      ) {
        this.#probe(worker)
      }
    }
    this.#fill(now)
    this.#circuit.watch(this.#isUsable, now)
  }

  #fill(now: number): void {
    if (!this.#hasStarted || now < this.#nextStartAt) return
    const { sessions } = this.#options.config
    const starting = this.#workers.filter(({ state }) => state === 'starting')
    const usable = this.#isUsable
    if (this.#workers.length < Math.min(sessions.min, this.max)) void this.#startWorker()
    else if (!usable && starting.length > 0) {
      // A start that hangs may keep hanging after the cause is gone, while a new start would
      // succeed. But if a process is waiting for CPU time, another one would only delay it.
      const newest = Math.max(...starting.map(({ openingSince }) => openingSince ?? now))
      if (now - newest < RESTART_EVERY_MS) return
      if (starting.length >= MAX_STARTING) starting[0]?.kill()
      void this.#startWorker()
    } else if (usable && starting.length === 0 && this.#workers.length < this.max) {
      if (this.#events.isPressed(PRESSED_AFTER_MS)) void this.#startWorker()
    }
  }

  /** @returns the failure if the worker did not start */
  async #startWorker(): Promise<WireFailure | undefined> {
    const worker = new TokenWorker(this.#options.config.environment, this.#options.clock)
    this.#started += 1
    this.#workers.push(worker)
    worker.process.onEnd = (why) => {
      this.#ended(worker, why)
    }
    try {
      await worker.start(this.#call)
    } catch (error) {
      if (!(error instanceof TokenError)) throw error
      return this.#failedToStart(worker, error.wire)
    }
    this.#maxSessions = worker.facts?.maxSessions ?? Infinity
    this.#circuit.close()
    this.#events.onUsable(worker)
    return undefined
  }

  #failedToStart(worker: TokenWorker, failure: WireFailure): WireFailure {
    const isSurplus = failure.code === 'BUSY' && this.ready > 0
    // The token has no free sessions, so the current number of workers becomes the maximum.
    if (isSurplus) this.#maxSessions = this.ready
    else this.#circuit.blame(failure)
    worker.kill()
    if (failure.recovery === 'stop') this.#lock(worker, failure)
    return failure
  }

  #ended(worker: TokenWorker, why: WireFailure): void {
    const wasReady = worker.state === 'ready'
    worker.state = 'ended'
    this.#workers = this.#workers.filter((one) => one !== worker)
    if (this.#isStopped) return
    const wait = wasReady && this.#backoff === 0 ? 0 : FIRST_BACKOFF_MS * 2 ** this.#backoff
    this.#backoff = Math.min(this.#backoff + 1, 10)
    this.#nextStartAt = this.#now() + Math.min(wait, MAX_BACKOFF_MS) * (0.75 + Math.random() / 2)
    if (!wasReady) return
    this.#circuit.blame(why)
    this.#options.logger.warn('PKCS#11 worker exited; restarting', {
      ...nameToken(this.#options),
      detail: why.message,
    })
    this.#fill(this.#now())
  }

  #probe(worker: TokenWorker): void {
    worker.probeAt = Infinity
    worker.lastUsedAt = this.#now()
    void this.ask(worker, { call: 'health' }, this.#options.config.deadlines.operationMs).then(
      () => {
        if (worker.state === 'faulty') worker.state = 'ready'
        this.onAnswer(worker)
        if (worker.isUsable) this.#events.onUsable(worker)
      },
      (error: unknown) => {
        if (worker.state === 'ended' || !(error instanceof TokenError)) return
        this.onFailure(worker, error.wire)
        if (worker.state === 'ready') worker.state = 'faulty'
        if (worker.failures >= MAX_PROBES) worker.kill()
        worker.probeAt = this.#now() + FIRST_BACKOFF_MS * 2 ** worker.failures
      },
    )
  }
}
