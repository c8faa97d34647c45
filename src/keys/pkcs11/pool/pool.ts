/** The processes of one token: work for those that can take it, and new ones for those that cannot. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../../core/clock.ts'
import type { Deadline } from '../../../core/deadline.ts'
import { BackendError } from '../../errors.ts'
import type { ManagerHealth } from '../../key-backend.ts'
import type { Call, TokenFacts } from '../wire/calls.ts'
import { toBackendError } from '../wire/errors.ts'
import { CALL } from '../wire/protocol.ts'
import type { CircuitState } from './circuit-breaker.ts'
import type { PoolOptions } from './options.ts'
import { type Job, JobQueue, encodeHead } from './queue.ts'
import { type Answer, TokenError } from './worker-process.ts'
import { LaneKeeper } from './worker-supervisor.ts'
import type { Lane } from './worker.ts'

export interface TokenStats {
  readonly id: string
  readonly state: ManagerHealth['status']
  readonly circuit: CircuitState
  readonly sessions: { readonly open: number; readonly busy: number; readonly max: number }
  readonly queued: number
  /** Processes, those that are just starting among them. */
  readonly hosts: number
  /** Processes that were started beyond the first ones. */
  readonly restarts: number
}

/** Worth another attempt after a failure of the token, if this much time is left. */
const RETRY_IF_LEFT_MS = 50
const RETRY_AFTER_MS = 15
const MAX_ATTEMPTS = 3

export class TokenPool {
  readonly #options: PoolOptions
  readonly #clock: Clock
  readonly #queue: JobQueue
  readonly #lanes: LaneKeeper
  #facts: TokenFacts | undefined

  constructor(options: PoolOptions) {
    this.#options = options
    this.#clock = options.clock
    this.#queue = new JobQueue(options.clock, (job) => {
      this.#expire(job)
    })
    this.#lanes = new LaneKeeper(options, {
      isPressed: (waitedMs) => this.#queue.waitedMs >= waitedMs,
      onUsable: (lane) => {
        this.#facts = lane.facts ?? this.#facts
        this.#pump()
      },
      onOpen: () => {
        for (const job of this.#queue.takeWaiting()) this.#fail(job, this.#refusal())
      },
    })
  }

  /** Resolves when the token is logged in, or cannot be for now. @throws BackendError MISCONFIGURED */
  start(): Promise<void> {
    return this.#lanes.start()
  }

  stop(): void {
    this.#lanes.stop()
    this.#queue.stop()
    for (const job of this.#queue.takeWaiting()) this.#fail(job, closed())
  }

  /** Undefined until it was logged in for the first time. */
  get facts(): TokenFacts | undefined {
    return this.#facts
  }

  /** Whether work would be taken now. */
  get isUsable(): boolean {
    return this.#lanes.circuit !== 'open'
  }

  /** Operations that wait or are under way. */
  get load(): number {
    return this.#queue.waiting + this.#lanes.busy
  }

  /** Process ids, for tests. */
  get pids(): readonly number[] {
    return this.#lanes.all.flatMap(({ process: { pid } }) => (pid === undefined ? [] : [pid]))
  }

  /** @param attemptMs less than the deadline, where there is another token to turn to */
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
      const job: Job = {
        ...{ kind, flags, parts, resolve, reject },
        queuedAt: now,
        endsAt: now + left,
        attempts: 0,
        lane: undefined,
        isOver: false,
        bagIndex: -1,
      }
      if (this.#lanes.circuit === 'open') reject(this.#refusal())
      else if (left <= 0) reject(tooLate())
      else this.#admit(job)
    })
  }

  /** @throws BackendError */
  async call(call: Call, deadline: Deadline): Promise<unknown> {
    const body = [Buffer.from(JSON.stringify(call))]
    const { parts } = await this.send(CALL, 0, body, deadline)
    return JSON.parse(String(parts[0])) as unknown
  }

  async health(deadline: Deadline): Promise<ManagerHealth['status']> {
    try {
      await this.call({ call: 'health' }, deadline)
      return this.#lanes.isComplete ? 'ACTIVE' : 'DEGRADED'
    } catch (error) {
      if (!(error instanceof BackendError)) throw error
      // Too much to do is no illness.
      return error.code === 'BUSY' ? 'DEGRADED' : 'UNAVAILABLE'
    }
  }

  stats(id: string): TokenStats {
    const { circuit, isComplete, ready, max, restarts, all } = this.#lanes
    return {
      id,
      state: circuit === 'open' ? 'UNAVAILABLE' : isComplete ? 'ACTIVE' : 'DEGRADED',
      circuit,
      sessions: { open: ready, busy: this.#lanes.busyLanes, max },
      queued: this.#queue.waiting,
      hosts: all.length,
      restarts,
    }
  }

  #admit(job: Job): void {
    const lane = this.#queue.waiting === 0 ? this.#lanes.choose() : undefined
    if (lane === undefined && this.#queue.waiting >= this.#options.config.maxQueued) {
      job.reject(new BackendError('BUSY', 'too many operations wait for the token'))
      return
    }
    this.#queue.watch(job)
    if (lane === undefined) this.#queue.push(job)
    else this.#run(job, lane)
  }

  /** Gives work to whoever has room. */
  #pump(): void {
    for (;;) {
      const lane = this.#lanes.choose()
      const job = lane && this.#queue.shift()
      if (lane === undefined || job === undefined) return
      this.#run(job, lane)
    }
  }

  #run(job: Job, lane: Lane): void {
    job.lane = lane
    job.attempts += 1
    const { kind, parts, flags } = job
    const body =
      kind === CALL ? parts : [encodeHead(job.endsAt - this.#clock.monotonic(), flags), ...parts]
    lane.send(kind, body).then(
      (answer) => {
        this.#lanes.onAnswer(lane)
        this.#settle(job, () => {
          job.resolve(answer)
        })
        this.#pump()
      },
      (error: unknown) => {
        if (error instanceof TokenError) this.#refused(job, lane, error)
        else this.#fail(job, new BackendError('UNAVAILABLE', 'a fault of ours', { cause: error }))
        this.#pump()
      },
    )
  }

  #refused(job: Job, lane: Lane, error: TokenError): void {
    const { wire } = error
    const isTokens = wire.code === 'UNAVAILABLE' && wire.then !== 'drop'
    if (isTokens) this.#lanes.onFailure(lane, wire)
    else this.#lanes.onAnswer(lane)
    if (job.isOver) return
    const left = job.endsAt - this.#clock.monotonic()
    if (!isTokens || job.attempts >= MAX_ATTEMPTS || left < RETRY_IF_LEFT_MS) {
      this.#fail(job, error.toBackendError())
      return
    }
    job.lane = undefined
    setTimeout(() => {
      if (job.isOver) return
      if (this.#lanes.circuit === 'open') this.#fail(job, this.#refusal())
      else {
        this.#queue.unshift(job)
        this.#pump()
      }
    }, RETRY_AFTER_MS)
  }

  #expire(job: Job): void {
    if (job.lane !== undefined) this.#lanes.onOverdue(job.lane)
    job.reject(tooLate())
  }

  #fail(job: Job, error: BackendError): void {
    this.#settle(job, () => {
      job.reject(error)
    })
  }

  #settle(job: Job, settle: () => void): void {
    if (job.isOver) return
    this.#queue.close(job)
    settle()
  }

  #refusal(): BackendError {
    const { refusal } = this.#lanes
    return refusal === undefined ? closed() : toBackendError(refusal)
  }
}

function tooLate(): BackendError {
  return new BackendError('TIMEOUT', 'the token did not answer in time')
}

function closed(): BackendError {
  return new BackendError('UNAVAILABLE', 'the backend is closed')
}
