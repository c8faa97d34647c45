/** The pool's view of one worker process: whether it can take requests, and how many. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../../core/clock.ts'
import type { StartCall, TokenFacts } from '../wire/calls.ts'
import { WorkerProcess } from './worker-process.ts'

/**
 * Milliseconds of work to send to a worker ahead of time, so that it never waits for its next
 * request.
 */
const AHEAD_MS = 4
const MAX_AHEAD = 64
/** Weight of the newest measurement in the moving average. */
const SMOOTHING = 0.1

export type WorkerState = 'starting' | 'ready' | 'faulty' | 'ended'

export class TokenWorker {
  readonly process: WorkerProcess
  readonly #clock: Clock
  /** Monotonic time in milliseconds, like all times in this file. */
  readonly startedAt: number
  /**
   * Time at which the module began to load and log in; undefined while the process itself is
   * starting.
   */
  openingSince: number | undefined
  state: WorkerState = 'starting'
  facts: TokenFacts | undefined
  lastUsedAt: number
  /** Time at which a response of the module became overdue; undefined if no response is overdue. */
  overdueSince: number | undefined
  /** Number of consecutive failures of the token. */
  failures = 0
  /** Time of the next test of a faulty worker. */
  probeAt = Infinity
  /** The PIN with which the worker was started. */
  pin: string | undefined
  #serviceMs = 1

  constructor(environment: Readonly<Record<string, string>>, clock: Clock) {
    this.#clock = clock
    this.startedAt = this.lastUsedAt = clock.monotonic()
    this.process = new WorkerProcess(environment)
    this.process.onRunning = () => {
      this.openingSince = clock.monotonic()
    }
  }

  async start(call: StartCall): Promise<void> {
    this.pin = call.pin
    this.facts = await this.process.start(call)
    if (this.state === 'starting') this.state = 'ready'
  }

  get isUsable(): boolean {
    return this.state === 'ready' && this.overdueSince === undefined
  }

  /** Reports whether the process, or the module in it, is taking longer than `startMs` to start. */
  isLate(startMs: number): boolean {
    const since = this.openingSince ?? this.startedAt
    return this.state === 'starting' && this.#clock.monotonic() - since >= startMs
  }

  /** Mean time of one request, in milliseconds. */
  get serviceMs(): number {
    return this.#serviceMs
  }

  /** Number of requests that the worker can take now. */
  get room(): number {
    if (!this.isUsable) return 0
    const ahead = Math.min(MAX_AHEAD, Math.max(1, Math.floor(AHEAD_MS / this.#serviceMs)))
    return ahead - this.process.size
  }

  /** Records how long a request took, in milliseconds. */
  onServed(serviceMs: number): void {
    this.#serviceMs += (serviceMs - this.#serviceMs) * SMOOTHING
  }

  kill(): void {
    this.state = 'ended'
    this.process.kill()
  }
}
