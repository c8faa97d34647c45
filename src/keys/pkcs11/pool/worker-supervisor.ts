/** Keeps enough processes of a token alive: starts, watches, tries and kills them. */
// SPDX-License-Identifier: Apache-2.0
import type { StartCall } from '../wire/calls.ts'
import { Circuit, nameToken, type CircuitState } from './circuit-breaker.ts'
import { toBackendError, type WireFailure } from '../wire/errors.ts'
import { TokenError } from './worker-process.ts'
import { Lane } from './worker.ts'
import type { PoolOptions } from './options.ts'

export interface LaneEvents {
  /** Whether work has waited for this long. */
  readonly isPressed: (waitedMs: number) => boolean
  readonly onUsable: (lane: Lane) => void
  /** Nothing can be done any more: whoever waits is to be told. */
  readonly onOpen: () => void
}

const TICK_MS = 50
/** Failures in a row after which a process gets no work until it has passed a test. */
const MAX_FAILURES = 3
/** Failed tests in a row after which it is replaced. */
const MAX_PROBES = 3
const FIRST_BACKOFF_MS = 50
const MAX_BACKOFF_MS = 1000
/** While nothing works, another start is made this often beside those that hang. */
const RESTART_EVERY_MS = 1000
const MAX_STARTING = 3
/** Work that waits for this long calls for another process. */
const PRESSED_AFTER_MS = 20

export class LaneKeeper {
  readonly #options: PoolOptions
  readonly #events: LaneEvents
  readonly #call: StartCall
  readonly #circuit: Circuit
  #lanes: Lane[] = []
  #timer: NodeJS.Timeout | undefined
  #hasStarted = false
  #isStopped = false
  #backoff = 0
  #nextStartAt = 0
  #started = 0
  #maxSessions = Infinity

  constructor(options: PoolOptions, events: LaneEvents) {
    this.#options = options
    this.#events = events
    this.#circuit = new Circuit(options, events.onOpen)
    const { config, token, selfTest } = options
    const { pin, ...selector } = token
    this.#call = {
      call: 'start',
      module: config.module,
      ...(config.parameters === undefined ? {} : { parameters: config.parameters }),
      token: selector,
      pin: pin.reveal(),
      iv: config.iv,
      keysBy: config.keys.by,
      healthKey: config.healthKey,
      functionFailedIsBusy: config.functionFailedIsBusy,
      ...(selfTest === undefined ? {} : { selfTest }),
      ...(options.ownKey === undefined ? {} : { ownKey: options.ownKey }),
    }
  }

  get all(): readonly Lane[] {
    return this.#lanes
  }

  get ready(): number {
    return this.#lanes.filter(({ state }) => state === 'ready').length
  }

  get busy(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.process.size, 0)
  }

  get busyLanes(): number {
    return this.#lanes.filter((lane) => lane.state === 'ready' && lane.process.size > 0).length
  }

  get max(): number {
    return Math.min(this.#options.config.sessions.max, this.#maxSessions)
  }

  get restarts(): number {
    return Math.max(0, this.#started - this.max)
  }

  /** As many as are always to be there, and all of them well. */
  get isComplete(): boolean {
    return (
      this.#lanes.filter(({ isUsable }) => isUsable).length >= this.#options.config.sessions.min
    )
  }

  get refusal(): WireFailure | undefined {
    return this.#isStopped ? undefined : this.#circuit.refusal
  }

  get circuit(): CircuitState {
    return this.#isStopped ? 'open' : this.#circuit.state(this.#isUsable)
  }

  /** @throws BackendError MISCONFIGURED */
  async start(): Promise<void> {
    this.#hasStarted = false
    const failure = await this.#startLane()
    if (failure !== undefined && (failure.code === 'MISCONFIGURED' || failure.then === 'stop')) {
      this.stop()
      const hint = 'the PIN is where backends[].tokens[].pin says; it was tried once'
      throw toBackendError({ hint, ...failure, code: 'MISCONFIGURED' })
    }
    this.#hasStarted = true
    this.#timer = setInterval(() => {
      this.#tick()
    }, TICK_MS).unref()
    this.#tick()
  }

  stop(): void {
    this.#isStopped = true
    clearInterval(this.#timer)
    for (const lane of this.#lanes.splice(0)) lane.kill()
  }

  /** The one with most room, or none. */
  choose(): Lane | undefined {
    let best: Lane | undefined
    let room = 0
    for (const lane of this.#lanes) {
      const own = lane.room
      if (own > room) [best, room] = [lane, own]
    }
    return best
  }

  /** It did what it was told, or refused for a reason that is not its own. */
  onAnswer(lane: Lane): void {
    lane.failures = 0
    lane.overdueSince = undefined
    if (lane.state !== 'ready') return
    this.#backoff = 0
    this.#circuit.close()
  }

  onFailure(lane: Lane, failure: WireFailure): void {
    this.#circuit.blame(failure)
    lane.overdueSince = undefined
    lane.failures += 1
    if (failure.then === 'stop') this.#lock(failure)
    else if (lane.state === 'ready' && lane.failures >= MAX_FAILURES) {
      lane.state = 'faulty'
      lane.failures = 0
      lane.probeAt = this.#now()
    }
  }

  onOverdue(lane: Lane): void {
    lane.overdueSince ??= this.#now()
    this.#circuit.blame({ code: 'TIMEOUT', message: 'the token does not answer' })
  }

  get #isUsable(): boolean {
    return this.#lanes.some(({ isUsable }) => isUsable)
  }

  #lock(failure: WireFailure): void {
    this.#circuit.lock(failure)
    for (const lane of [...this.#lanes]) lane.kill()
  }

  #now(): number {
    return this.#options.clock.monotonic()
  }

  #tick(): void {
    if (this.#isStopped || this.#circuit.isLocked) return
    const now = this.#now()
    const { deadlines, heartbeatMs } = this.#options.config
    for (const lane of [...this.#lanes]) {
      if (lane.overdueSince !== undefined && now - lane.overdueSince >= deadlines.stuckMs) {
        this.#options.logger.warn(
          'a PKCS#11 process does not answer: it is replaced',
          nameToken(this.#options),
        )
        lane.kill()
      } else if (lane.state === 'starting' && now - lane.startedAt >= deadlines.startMs) lane.kill()
      else if (lane.state === 'faulty' && now >= lane.probeAt) this.#probe(lane)
      else if (lane.isUsable && lane.process.size === 0 && now - lane.lastUsedAt >= heartbeatMs) {
        this.#probe(lane)
      }
    }
    this.#fill(now)
    this.#circuit.watch(this.#isUsable, now)
  }

  #fill(now: number): void {
    if (!this.#hasStarted || now < this.#nextStartAt) return
    const { sessions } = this.#options.config
    const starting = this.#lanes.filter(({ state }) => state === 'starting')
    const usable = this.#isUsable
    if (this.#lanes.length < Math.min(sessions.min, this.max)) void this.#startLane()
    else if (!usable && starting.length > 0) {
      // Starts that hang may go on hanging after the cause is gone: a fresh one would not.
      const newest = Math.max(...starting.map(({ startedAt }) => startedAt))
      if (now - newest < RESTART_EVERY_MS) return
      if (starting.length >= MAX_STARTING) starting[0]?.kill()
      void this.#startLane()
    } else if (usable && starting.length === 0 && this.#lanes.length < this.max) {
      if (this.#events.isPressed(PRESSED_AFTER_MS)) void this.#startLane()
    }
  }

  /** @returns why it did not come up, if so */
  async #startLane(): Promise<WireFailure | undefined> {
    const lane = new Lane(this.#options.config.environment, this.#options.clock)
    this.#started += 1
    this.#lanes.push(lane)
    lane.process.onEnd = () => {
      this.#ended(lane)
    }
    try {
      await lane.start(this.#call)
    } catch (error) {
      if (!(error instanceof TokenError)) throw error
      return this.#failedToStart(lane, error.wire)
    }
    this.#maxSessions = lane.facts?.maxSessions ?? Infinity
    this.#circuit.close()
    this.#events.onUsable(lane)
    return undefined
  }

  #failedToStart(lane: Lane, failure: WireFailure): WireFailure {
    const isSurplus = failure.code === 'BUSY' && this.ready > 0
    // The token has no more sessions: as many as there are will do.
    if (isSurplus) this.#maxSessions = this.ready
    else this.#circuit.blame(failure)
    lane.kill()
    if (failure.then === 'stop') this.#lock(failure)
    return failure
  }

  #ended(lane: Lane): void {
    const wasReady = lane.state === 'ready'
    lane.state = 'ended'
    this.#lanes = this.#lanes.filter((one) => one !== lane)
    if (this.#isStopped) return
    const wait = wasReady && this.#backoff === 0 ? 0 : FIRST_BACKOFF_MS * 2 ** this.#backoff
    this.#backoff = Math.min(this.#backoff + 1, 10)
    this.#nextStartAt = this.#now() + Math.min(wait, MAX_BACKOFF_MS) * (0.75 + Math.random() / 2)
    if (wasReady)
      this.#circuit.blame({ code: 'UNAVAILABLE', message: 'the process of the module ended' })
    if (wasReady) {
      this.#options.logger.warn(
        'a PKCS#11 process ended: another is started',
        nameToken(this.#options),
      )
      this.#fill(this.#now())
    }
  }

  #probe(lane: Lane): void {
    lane.probeAt = Infinity
    const overdue = setTimeout(() => {
      this.onOverdue(lane)
    }, this.#options.config.deadlines.operationMs)
    lane.lastUsedAt = this.#now()
    lane.process
      .call({ call: 'health' })
      .then(
        () => {
          if (lane.state === 'faulty') lane.state = 'ready'
          this.onAnswer(lane)
          if (lane.isUsable) this.#events.onUsable(lane)
        },
        (error: unknown) => {
          if (lane.state === 'ended' || !(error instanceof TokenError)) return
          this.onFailure(lane, error.wire)
          if (lane.state === 'ready') lane.state = 'faulty'
          if (lane.failures >= MAX_PROBES) lane.kill()
          lane.probeAt = this.#now() + FIRST_BACKOFF_MS * 2 ** lane.failures
        },
      )
      .finally(() => {
        clearTimeout(overdue)
      })
  }
}
