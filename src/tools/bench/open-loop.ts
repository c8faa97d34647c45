/**
 * Open-loop load at a constant arrival rate: each request is due whether or not the previous one
 * has completed, because KMS's many hosts do not wait for one another. Latency is measured from
 * when the request was due, so it includes waiting.
 */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import { EndpointError } from '../../kms/client/dial.ts'
import { describe } from '../doctor/answers.ts'
import { KMS_TIMEOUT_MS } from '../doctor/timing.ts'
import type { LoadConnection } from './connections.ts'
import { type CurvePoint, type LatencySummary, createLatencies } from './histogram.ts'
import type { LoadOperation, RequestSource } from './mix.ts'

export interface LoadPlan {
  readonly connections: readonly LoadConnection[]
  readonly source: RequestSource
  /** Requests per second. */
  readonly rate: number
  readonly durationMs: number
  /** Called about once a second. */
  readonly onProgress?: (progress: Progress) => void
}

export interface Progress {
  readonly elapsedMs: number
  readonly answered: number
  readonly waiting: number
  readonly p50: number
  readonly p99: number
}

export interface LoadResult {
  readonly rate: number
  /** Responses with status 200 per second. */
  readonly achieved: number
  readonly due: number
  readonly succeeded: number
  /** Number of requests that were due but timed out before a connection was free. */
  readonly unsent: number
  /** Error counts by errorName, status, or connection error code. */
  readonly errors: Readonly<Record<string, number>>
  /**
   * Latency in milliseconds, measured from when each request was due. For a timed-out request, it
   * is the time spent waiting.
   */
  readonly latencyMs: LatencySummary
  readonly curve: readonly CurvePoint[]
  /**
   * Time from sending a request to receiving its complete response, in milliseconds, by operation.
   */
  readonly serviceMs: Readonly<Partial<Record<LoadOperation, LatencySummary>>>
  /** The client's own scheduling delay, before any wait for a connection. */
  readonly clientLagMs: LatencySummary
  /**
   * Whether the client could not keep up, in which case the figures show its own limits instead of
   * the proxy's.
   */
  readonly isClientLimited: boolean
}

/**
 * Maximum time that a request waits for a connection, in milliseconds. It is well beyond KMS's own
 * timeout.
 */
const GIVE_UP_MS = 2000
/**
 * Above this many milliseconds, the client's own delay is significant compared to KMS's timeout of
 * 250 ms.
 */
const MAX_CLIENT_LAG_MS = 5
/**
 * Timers are inexact, so once the next request is due within this many milliseconds, the clock is
 * checked on every turn of the event loop.
 */
const POLL_MS = 2
const PROGRESS_MS = 1000

interface Due {
  readonly dueAt: number
}

/** Resolves once every due request has received its response or has timed out. */
export async function runOpenLoop(plan: LoadPlan): Promise<LoadResult> {
  const run = new Run(plan)
  await run.done
  return run.result()
}

class Run {
  readonly done: Promise<void>
  readonly #plan: LoadPlan
  readonly #idle: LoadConnection[]
  readonly #waiting: Due[] = []
  readonly #latency = createLatencies()
  readonly #lag = createLatencies()
  readonly #service = new Map<LoadOperation, ReturnType<typeof createLatencies>>()
  readonly #errors = new Map<string, number>()
  readonly #total: number
  readonly #startedAt = systemClock.monotonic()
  #lastAnswerAt = this.#startedAt
  #due = 0
  #open = 0
  #succeeded = 0
  #unsent = 0
  #reportedAt = this.#startedAt
  #finish: () => void = () => undefined

  constructor(plan: LoadPlan) {
    this.#plan = plan
    this.#idle = [...plan.connections]
    this.#total = Math.max(1, Math.round((plan.rate * plan.durationMs) / 1000))
    this.done = new Promise((resolve) => (this.#finish = resolve))
    this.#tick()
  }

  readonly #tick = (): void => {
    const now = systemClock.monotonic()
    for (; this.#due < this.#total; this.#due++) {
      const dueAt = this.#startedAt + (this.#due * 1000) / this.#plan.rate
      if (dueAt > now) break
      this.#lag.record(now - dueAt)
      this.#open += 1
      this.#waiting.push({ dueAt })
    }
    this.#giveUp(now)
    this.#dispatch()
    this.#report(now)
    if (this.#due === this.#total && this.#open === 0) this.#finish()
    else this.#schedule(now)
  }

  #schedule(now: number): void {
    const nextAt =
      this.#due < this.#total
        ? this.#startedAt + (this.#due * 1000) / this.#plan.rate
        : now + POLL_MS * 5
    const leftMs = nextAt - now
    // The load generator keeps its own schedule: the next request is due at a fixed moment.
    if (leftMs > POLL_MS) setTimeout(this.#tick, leftMs - POLL_MS)
    else setImmediate(this.#tick)
  }

  #giveUp(now: number): void {
    let first = this.#waiting[0]
    while (first !== undefined && now - first.dueAt > GIVE_UP_MS) {
      this.#waiting.shift()
      this.#latency.record(now - first.dueAt)
      this.#unsent += 1
      this.#open -= 1
      first = this.#waiting[0]
    }
  }

  #dispatch(): void {
    while (this.#waiting.length > 0) {
      const connection = this.#idle.pop()
      if (connection === undefined) return
      const due = this.#waiting.shift()
      if (due !== undefined) void this.#send(connection, due)
    }
  }

  async #send(connection: LoadConnection, { dueAt }: Due): Promise<void> {
    const { operation, request } = this.#plan.source.next()
    const sentAt = systemClock.monotonic()
    try {
      const answer = await connection.send(request)
      if (answer.status === 200) this.#succeeded += 1
      else this.#count(describe(answer))
    } catch (error) {
      this.#count(error instanceof EndpointError ? error.code : String(error))
    }
    const now = systemClock.monotonic()
    this.#lastAnswerAt = now
    this.#latency.record(now - dueAt)
    this.#serviceOf(operation).record(now - sentAt)
    this.#open -= 1
    this.#idle.push(connection)
    this.#giveUp(now)
    this.#dispatch()
  }

  #serviceOf(operation: LoadOperation) {
    const found = this.#service.get(operation) ?? createLatencies()
    this.#service.set(operation, found)
    return found
  }

  #count(error: string): void {
    this.#errors.set(error, (this.#errors.get(error) ?? 0) + 1)
  }

  #report(now: number): void {
    if (now - this.#reportedAt < PROGRESS_MS) return
    this.#reportedAt = now
    this.#plan.onProgress?.({
      elapsedMs: now - this.#startedAt,
      answered: this.#latency.count,
      waiting: this.#waiting.length,
      p50: this.#latency.at(50),
      p99: this.#latency.at(99),
    })
  }

  result(): LoadResult {
    const elapsedMs = Math.max(this.#plan.durationMs, this.#lastAnswerAt - this.#startedAt)
    const clientLagMs = this.#lag.summary()
    return {
      rate: this.#plan.rate,
      achieved: Math.round((this.#succeeded / elapsedMs) * 10_000) / 10,
      due: this.#total,
      succeeded: this.#succeeded,
      unsent: this.#unsent,
      errors: Object.fromEntries(this.#errors),
      latencyMs: this.#latency.summary(),
      curve: this.#latency.curve(),
      serviceMs: Object.fromEntries(
        [...this.#service].map(([operation, latencies]) => [operation, latencies.summary()]),
      ),
      clientLagMs,
      isClientLimited: clientLagMs.p99 > MAX_CLIENT_LAG_MS,
    }
  }
}

interface SearchOptions {
  readonly startRate: number
  /** Highest rate to try. */
  readonly maxRate: number
  /**
   * Precision as a fraction of the rate: with 0.05, the search stops when its bounds are 5 % apart.
   */
  readonly precision: number
}

export interface Search {
  /**
   * Highest rate that the proxy sustained, in requests per second; 0 if even the first rate failed.
   */
  readonly highest: number
  /** The limit that ended the search: the proxy, the client, or the highest allowed rate. */
  readonly limitedBy: 'proxy' | 'client' | 'maximum'
  readonly results: readonly LoadResult[]
}

/**
 * Reports whether every request succeeded, with a p99 below KMS's timeout of 250 ms (XKS 1.0.3).
 */
export function holds(result: LoadResult): boolean {
  return (
    result.latencyMs.p99 < KMS_TIMEOUT_MS &&
    result.unsent === 0 &&
    Object.keys(result.errors).length === 0
  )
}

export async function findHighestRate(
  options: SearchOptions,
  run: (rate: number) => Promise<LoadResult>,
): Promise<Search> {
  const results: LoadResult[] = []
  let held = 0
  let failed: LoadResult | undefined
  const attempt = async (rate: number) => {
    const result = await run(rate)
    results.push(result)
    if (holds(result)) held = Math.max(held, rate)
    else failed = result
  }
  for (let rate = options.startRate; failed === undefined && rate <= options.maxRate; rate *= 2) {
    await attempt(rate)
  }
  while (failed !== undefined && (failed.rate - held) / failed.rate > options.precision) {
    const middle = Math.round((held + failed.rate) / 2)
    if (middle <= held || middle >= failed.rate) break
    await attempt(middle)
  }
  const limitedBy = failed === undefined ? 'maximum' : failed.isClientLimited ? 'client' : 'proxy'
  return { highest: held, limitedBy, results }
}
