/** Under more load than this process can take: who is served in time, and who is told to come again. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'

/**
 * Requests wait where nobody sees them: in the buffers of the kernel, until the event loop reads its
 * sockets again. What was read in this round may have come right after the round before, so that is
 * how old it is taken to be, unless the loop was idle in between: then it came when it was read. Load
 * above the limit so ends in an equilibrium: a round takes about `limitMs`, some requests are served
 * and all others refused at a third of the price, and nobody waits for more than two rounds. When the
 * load falls, the first idle moment ends it.
 *
 * A burst may wait for long, as it comes to an end. An overload that lasts does not, and long rounds then
 * serve nobody more: they only fill the callers' connections, of which there are so many and no more, and
 * with many under way each answer costs twice as much. So once the event loop has hardly been idle for a
 * while, a round that follows a crowded one serves the fewer, the more had come, until it is idle again.
 */
export interface Admission {
  /** For a request whose head was just read: may it still be served in time? */
  admits(): boolean
  /** The same when its turn has come. */
  isLate(): boolean
  /** Counts a request into the queue. */
  enqueue(): void
  /** The sockets have been read: what comes from now on is of the next round. */
  endReading(): void
  /** Empties the queue. */
  startServing(): void
  /** After all of it that needs no waiting. @param served how many were not refused */
  endServing(served: number): void
}

export interface AdmissionDeps {
  readonly clock: Clock
  /** Milliseconds that the event loop has been idle, all in all. */
  readonly idleMs: () => number
  /** A request is refused when it would be older than this at its turn. */
  readonly limitMs: number
}

/** Asking the kernel for events counts as idle time too, for some microseconds. */
const IDLE_MS = 1
/** What a request takes, before anything is known of this machine. */
const FIRST_GUESS_MS = 0.1
/** After so long without this share of it idle, an overload lasts. */
const WATCHED_MS = 40
const IDLE_SHARE = 0.02
/** So many in a round are no crowd: callers who each wait for their answer before they ask again are all served. */
const CROWD = 64
/** Of twice as many, an eighth is served of what is of a crowd: what is left is enough to refuse all others at once. */
const STEEPNESS = 3
/** Weight of the newest round in the mean time of a request. */
const NEWEST = 0.2

export function createAdmission({ clock, idleMs, limitMs }: AdmissionDeps): Admission {
  let roundStartedAt: number | undefined
  let idleAtRound = 0
  /** Since when the requests of the next round may have waited. */
  let waitingSince = 0
  let isNewRound = true
  let servingSince = 0
  let queued = 0
  let meanMs = FIRST_GUESS_MS
  let watchedFrom = clock.monotonic()
  let idleAtWatch = idleMs()
  let lasts = false
  /** That were judged in this round. */
  let heads = 0
  let allowance = Infinity

  /** At the first sign of the next round. */
  function beginReading(now: number): void {
    if (!isNewRound) return
    isNewRound = false
    allowance = lasts && heads > CROWD ? CROWD * (CROWD / heads) ** STEEPNESS : Infinity
    heads = 0
    const wasIdle = roundStartedAt === undefined || idleMs() - idleAtRound > IDLE_MS
    waitingSince = wasIdle ? now : (roundStartedAt ?? now)
  }

  function watch(now: number, idle: number): void {
    const watchedMs = now - watchedFrom
    if (watchedMs < WATCHED_MS) return
    lasts = idle - idleAtWatch < watchedMs * IDLE_SHARE
    watchedFrom = now
    idleAtWatch = idle
  }

  return {
    admits() {
      const now = clock.monotonic()
      beginReading(now)
      heads += 1
      return heads <= allowance && now - waitingSince + queued * meanMs <= limitMs
    },
    isLate: () => clock.monotonic() - waitingSince > limitMs,
    enqueue() {
      if (queued === 0) beginReading(clock.monotonic())
      queued += 1
    },
    endReading() {
      roundStartedAt = clock.monotonic()
      idleAtRound = idleMs()
      watch(roundStartedAt, idleAtRound)
      isNewRound = true
    },
    startServing() {
      servingSince = clock.monotonic()
      queued = 0
    },
    endServing(served) {
      if (served === 0) return
      meanMs += NEWEST * ((clock.monotonic() - servingSince) / served - meanMs)
    },
  }
}
