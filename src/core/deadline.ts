/** A time budget shared by every call on behalf of one request. */
// SPDX-License-Identifier: Apache-2.0
import { type Clock, systemClock } from './clock.ts'

/** A value that may already be available. */
export type Awaitable<T> = T | Promise<T>

export class DeadlineExceeded extends Error {
  override readonly name = 'DeadlineExceeded'
}

export interface DeadlineOptions {
  /** Monotonic time in milliseconds at which the budget starts. */
  readonly startedAt?: number
  /** Reports whether the caller has disconnected. */
  readonly isGone?: () => boolean
}

const isHere = () => false

/**
 * Uses the monotonic clock. `signal` is created on first use, because most calls end well within
 * the budget and need neither the AbortController nor its timer.
 */
export class Deadline {
  readonly #clock: Clock
  readonly #endsAt: number
  readonly #isGone: () => boolean
  #controller: AbortController | undefined

  /** @param budgetMs milliseconds from now, or from the given start */
  constructor(clock: Clock, budgetMs: number, options: DeadlineOptions = {}) {
    this.#clock = clock
    this.#endsAt = (options.startedAt ?? clock.monotonic()) + budgetMs
    this.#isGone = options.isGone ?? isHere
  }

  /**
   * Milliseconds left; zero or less once the budget is spent or the caller has disconnected. Check
   * it before taking work from a queue.
   */
  get remainingMs(): number {
    return this.#isGone() ? 0 : this.#endsAt - this.#clock.monotonic()
  }

  /** Aborts with `DeadlineExceeded` when the budget is spent. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      const controller = new AbortController()
      this.#controller = controller
      const abort = () => {
        controller.abort(new DeadlineExceeded('the call did not finish before its deadline'))
      }
      const left = this.remainingMs
      if (left <= 0) abort()
      else setTimeout(abort, left).unref()
    }
    return this.#controller.signal
  }

  /**
   * Returns the result of `work`, synchronously if it is already available, or rejects with
   * `DeadlineExceeded` once the budget is spent. The work itself continues unless it is cancelled
   * through `signal`.
   */
  race<T>(work: Promise<T>): Promise<T>
  race<T>(work: Awaitable<T>): Awaitable<T>
  race<T>(work: Awaitable<T>): Awaitable<T> {
    if (!(work instanceof Promise)) return work
    const left = this.remainingMs
    return new Promise((resolve, reject) => {
      const race = startRace(left, reject)
      work.then(
        (value) => {
          endRace(race)
          resolve(value)
        },
        (error: unknown) => {
          endRace(race)
          reject(error instanceof Error ? error : new Error('rejected', { cause: error }))
        },
      )
    })
  }
}

interface Race {
  /**
   * End of the race, in monotonic time of the system clock, because timers do not follow a test's
   * clock.
   */
  readonly endsAt: number
  readonly reject: (error: Error) => void
  /** Position in `races`; -1 once the race is over. */
  index: number
}

/**
 * The races in progress. One timer serves all of them, because setting and clearing a timer for
 * each race takes longer than the rest of the race. The timer is set to the earliest deadline, and
 * races usually finish before it. It is rarely set again, because a race with the usual budget has
 * a later deadline than the races before it.
 */
const races: Race[] = []
let timer: NodeJS.Timeout | undefined
let timerAt = Infinity
/** The longest delay that a timer of Node.js can have. */
const MAX_TIMER_MS = 2 ** 31 - 1

function startRace(leftMs: number, reject: Race['reject']): Race {
  const race = { endsAt: systemClock.monotonic() + leftMs, reject, index: races.length }
  races.push(race)
  if (race.endsAt < timerAt) setTimer(race.endsAt)
  // The timer keeps the process alive only while there is a race.
  else if (races.length === 1) timer?.ref()
  return race
}

function endRace(race: Race): void {
  const { index } = race
  if (index < 0) return
  race.index = -1
  const last = races.pop()
  if (last !== undefined && last !== race) {
    races[index] = last
    last.index = index
  }
  if (races.length === 0) timer?.unref()
}

function setTimer(at: number): void {
  clearTimeout(timer)
  timerAt = at
  const ms = Math.ceil(at - systemClock.monotonic())
  timer = setTimeout(endRacesInTime, Math.min(MAX_TIMER_MS, Math.max(0, ms)))
}

function endRacesInTime(): void {
  const now = systemClock.monotonic()
  let next = Infinity
  timer = undefined
  timerAt = Infinity
  for (const race of [...races]) {
    if (race.endsAt > now) next = Math.min(next, race.endsAt)
    else {
      endRace(race)
      race.reject(new DeadlineExceeded('the call did not finish before its deadline'))
    }
  }
  if (next < Infinity) setTimer(next)
}

/**
 * Returns the result of `work`, or rejects with `DeadlineExceeded` once the signal aborts. The work
 * itself continues, so use this only for work that cannot be cancelled.
 */
export function raceSignal<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      reject(new DeadlineExceeded('the call did not finish before its deadline'))
    }
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    void work.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', abort)
    })
  })
}

/** Resolves after `ms` milliseconds. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
