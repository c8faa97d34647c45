/** Under more load than this process can take: who is served in time, and who is told to come again. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../base/clock.ts'

/**
 * Requests wait where nobody sees them: in the buffers of the kernel, until the event loop reads its
 * sockets again. What was read in this round may have come right after the round before, so that is
 * how old it is taken to be, unless the loop was idle in between: then it came when it was read. Load
 * above the limit so ends in an equilibrium: a round takes about `limitMs`, some requests are served
 * and all others refused at a third of the price, and nobody waits for more than two rounds. When the
 * load falls, the first idle moment ends it.
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

  /** At the first sign of the next round. */
  function beginReading(now: number): void {
    if (!isNewRound) return
    isNewRound = false
    const wasIdle = roundStartedAt === undefined || idleMs() - idleAtRound > IDLE_MS
    waitingSince = wasIdle ? now : (roundStartedAt ?? now)
  }

  return {
    admits() {
      const now = clock.monotonic()
      beginReading(now)
      return now - waitingSince + queued * meanMs <= limitMs
    },
    isLate: () => clock.monotonic() - waitingSince > limitMs,
    enqueue() {
      if (queued === 0) beginReading(clock.monotonic())
      queued += 1
    },
    endReading() {
      roundStartedAt = clock.monotonic()
      idleAtRound = idleMs()
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
