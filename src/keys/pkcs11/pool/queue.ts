/** Queued and in-flight requests, each with its deadline. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../../core/clock.ts'
import type { Answer } from './worker-process.ts'
import type { TokenWorker } from './worker.ts'

export class RequestQueue {
  readonly #clock: Clock
  readonly #onExpired: (request: QueuedRequest) => void
  /**
   * All requests that are being watched. This is an array, because V8 retains objects that have
   * passed through a busy Map or Set.
   */
  readonly #open: QueuedRequest[] = []
  #waiting: QueuedRequest[] = []
  #timer: NodeJS.Timeout | undefined
  #timerAt = Infinity

  /** @param onExpired called once for each expired request, after it was removed */
  constructor(clock: Clock, onExpired: (request: QueuedRequest) => void) {
    this.#clock = clock
    this.#onExpired = onExpired
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Waiting time of the first request, in milliseconds. */
  get waitedMs(): number {
    const [first] = this.#waiting
    return first === undefined ? 0 : this.#clock.monotonic() - first.queuedAt
  }

  /** Watches the deadline of a request until `close`. */
  watch(request: QueuedRequest): void {
    this.#open.push(request)
    if (request.endsAt < this.#timerAt) this.#arm(request.endsAt)
  }

  close(request: QueuedRequest): void {
    request.isOver = true
    const index = this.#open.indexOf(request)
    const last = index < 0 ? undefined : this.#open.pop()
    // Order does not matter, so the last request moves into the removed one's slot.
    if (last !== undefined && last !== request) this.#open[index] = last
  }

  push(request: QueuedRequest): void {
    this.#waiting.push(request)
  }

  /** Puts a request back at the front of the queue for a retry. */
  unshift(request: QueuedRequest): void {
    this.#waiting.unshift(request)
  }

  /**
   * Removes and returns the next request that still has a waiting caller. Requests that a worker
   * could not finish in time expire now. If each of them were started just before its deadline, an
   * overloaded token would complete none.
   * @param serviceMs time in milliseconds that the worker needs for one request
   */
  shift(serviceMs: number): QueuedRequest | undefined {
    const finishedAt = this.#clock.monotonic() + serviceMs
    for (;;) {
      const request = this.#waiting.shift()
      if (request?.isOver === true) continue
      if (request === undefined || request.endsAt >= finishedAt) return request
      this.close(request)
      this.#onExpired(request)
    }
  }

  /** Removes and returns all waiting requests. */
  takeWaiting(): readonly QueuedRequest[] {
    const requests = this.#waiting.filter(({ isOver }) => !isOver)
    this.#waiting = []
    return requests
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timerAt = Infinity
  }

  /** One timer serves all requests. Most deadlines are equally long, so it is rarely reset. */
  #arm(at: number): void {
    clearTimeout(this.#timer)
    this.#timerAt = at
    // The timer is set to the earliest deadline of all open requests.
    this.#timer = setTimeout(
      () => {
        this.#expire()
      },
      Math.max(0, at - this.#clock.monotonic()),
    )
  }

  #expire(): void {
    const now = this.#clock.monotonic()
    let next = Infinity
    for (const request of [...this.#open]) {
      if (request.endsAt <= now) {
        this.close(request)
        this.#onExpired(request)
      } else next = Math.min(next, request.endsAt)
    }
    this.#waiting = this.#waiting.filter(({ isOver }) => !isOver)
    this.#timerAt = Infinity
    if (next < Infinity) this.#arm(next)
  }
}

export interface QueuedRequest {
  readonly kind: number
  /** The frame without its header, which carries the remaining time. */
  readonly parts: readonly Buffer[]
  /** See protocol.ts. */
  readonly flags: number
  /** Monotonic time in milliseconds. */
  readonly queuedAt: number
  readonly endsAt: number
  readonly resolve: (answer: Answer) => void
  readonly reject: (error: Error) => void
  attempts: number
  /** The worker that runs the request. */
  worker: TokenWorker | undefined
  /** True once no caller is waiting for the request any longer. */
  isOver: boolean
}

const MAX_BUDGET_MS = 0xffff

/** Encodes the frame header: 2 bytes of milliseconds, 1 byte of flags, 1 unused byte. */
export function encodeHead(budgetMs: number, flags: number): Buffer {
  const head = Buffer.allocUnsafe(4)
  head.writeUInt16LE(Math.max(0, Math.min(MAX_BUDGET_MS, Math.round(budgetMs))), 0)
  head.writeUInt16LE(flags, 2)
  return head
}
