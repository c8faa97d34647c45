/** The pool's view of one worker process: whether it can take requests, and how many. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../../core/clock.ts'
import type { StartCall, TokenFacts } from '../wire/calls.ts'
import { WorkerProcess, type Answer } from './worker-process.ts'

/** Milliseconds of work to send ahead, so that a worker never waits for its next request. */
const AHEAD_MS = 4
const MAX_AHEAD = 64
/** Weight of the newest measurement in the mean. */
const SMOOTHING = 0.1

export type WorkerState = 'starting' | 'ready' | 'faulty' | 'ended'

export class TokenWorker {
  readonly process: WorkerProcess
  readonly #clock: Clock
  /** Monotonic milliseconds, like all times in this file. */
  readonly startedAt: number
  state: WorkerState = 'starting'
  facts: TokenFacts | undefined
  lastUsedAt: number
  /** Time since which the module has exceeded a deadline without responding. */
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
  }

  async start(call: StartCall): Promise<void> {
    this.pin = call.pin
    this.facts = await this.process.start(call)
    if (this.state === 'starting') this.state = 'ready'
  }

  get isUsable(): boolean {
    return this.state === 'ready' && this.overdueSince === undefined
  }

  /** Number of requests that the worker can take now. */
  get room(): number {
    if (!this.isUsable) return 0
    const ahead = Math.min(MAX_AHEAD, Math.max(1, Math.floor(AHEAD_MS / this.#serviceMs)))
    return ahead - this.process.size
  }

  /** @throws TokenError */
  async send(kind: number, parts: readonly Buffer[]): Promise<Answer> {
    this.lastUsedAt = this.#clock.monotonic()
    const answer = await this.process.send(kind, parts)
    this.#serviceMs += (answer.serviceMs - this.#serviceMs) * SMOOTHING
    return answer
  }

  kill(): void {
    this.state = 'ended'
    this.process.kill()
  }
}
