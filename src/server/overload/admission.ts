/**
 * Admission control: under overload, serves the requests that can be answered in time and
 * rejects all other requests before they are parsed.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { SignatureState } from '../../xks/answer.ts'
import { createBatch, type Steps } from './batch.ts'

/** State that admission control keeps for a connection. */
export interface Conduct {
  /** Whether the connection has carried a request with a valid signature. */
  hasSigned: boolean
  /**
   * Requests without a valid signature since the last valid one, including requests shed for that
   * reason.
   */
  strikes: number
  /** Requests that were shed before the first valid signature. */
  sheds: number
  /**
   * The last round in which the connection sent something, and the number of requests that it sent
   * in that round.
   */
  round: number
  inRound: number
  /** Maximum number of requests served in one round before the first valid signature. */
  share: number
}

/**
 * Maximum number of requests served per round on a new HTTP/1.1 connection: more than any signing
 * caller would pipeline.
 */
const HTTP1_SHARE = 32
/** Maximum number of streams in an HTTP/2 session. */
export const HTTP2_SHARE = 128

export const newConduct = (share = HTTP1_SHARE): Conduct => ({
  ...{ hasSigned: false, strikes: 0, sheds: 0, round: 0, inRound: 0 },
  share,
})

/** `close`: the request is shed, and the connection closes with this response. */
export type Verdict = 'serve' | 'shed' | 'close'

/**
 * Requests wait invisibly in the kernel's buffers until the event loop reads its sockets again. A
 * round covers everything read in one turn of the loop: it begins with the first request of the
 * turn and ends with the turn. A request may have arrived right after the previous round began,
 * unless the loop was idle in between. Under overload this reaches an equilibrium: rounds grow
 * until the wait reaches the limit, and the excess is rejected at a third of the cost of a served
 * request. Only queues cause shedding. The first few requests of a round are always served. After a
 * round that was not crowded, requests may wait for the whole deadline, so a pause of the process
 * does not cause rejections.
 */
export interface Admission<Item> {
  /**
   * Call for a request whose head was just read.
   * @param isExempt whether the request is GetHealthStatus or /ping, which is shed only as part of
   * a flood
   */
  judge(conduct: Conduct, isExempt: boolean): Verdict
  /** Serves a completely read request at the end of this turn of the event loop. */
  serve(item: Item): void
  /**
   * Call with each response. Returns true if the connection must end with this response. A ping,
   * which needs no signature, counts only as part of a flood.
   */
  note(conduct: Conduct, signature: SignatureState): boolean
}

export interface AdmissionDeps {
  readonly clock: Clock
  /** Total idle time of the event loop in milliseconds. */
  readonly idleMs: () => number
  /** Milliseconds that a request may have waited if the previous round was crowded. */
  readonly limitMs: number
  /** Milliseconds that a request may have waited if the previous round was not crowded. */
  readonly deadlineMs: number
}

/** Assumed time per request in milliseconds, used until it has been measured on this machine. */
const FIRST_GUESS_MS = 0.1
/**
 * Weight of the newest round in the mean time per request. If the process paused during the round,
 * its time counts as at most twice the mean.
 */
const NEWEST = 0.2
const MAX_SAMPLE = 2
/** Polling the kernel for events, which takes a few microseconds, also counts as idle time. */
const IDLE_MS = 1
/**
 * The first requests of a round, up to this number, are served regardless of the previous round.
 */
const FIRST = 8
/**
 * Number of concurrent callers that are always served, provided that each waits for a response
 * before it sends its next request.
 */
const CROWD = 64
/**
 * An overload is in progress if the loop was idle for less than IDLE_SHARE of a period of at least
 * WATCHED_MS.
 */
const WATCHED_MS = 40
const IDLE_SHARE = 0.02
/**
 * Exponent: during an overload, the round that follows one with N requests serves CROWD * (CROWD /
 * N) ** STEEPNESS requests.
 */
const STEEPNESS = 3
/**
 * Maximum number of requests served per round for a connection that has sent bad requests. The
 * limit applies while the loop has no idle time, or if the connection is suspect.
 */
const SMALL_SHARE = 8
/** An unproven connection that sends this many times its share in one round is closed. */
const FLOOD = 2
/** Number of strikes after which a connection is suspect, and number after which it is closed. */
const SUSPECT = 8
const MAX_STRIKES = 100

/**
 * Connections with and without a valid signature are counted separately, so that a crowd of one
 * kind does not cause requests of the other kind to be shed.
 */
interface Group {
  heads: number
  /** Number of requests in the previous round. */
  headsBefore: number
  /** Number of requests that may be served in this round. */
  allowance: number
}

const newGroup = (): Group => ({ heads: 0, headsBefore: 0, allowance: Infinity })

export function createAdmission<Item, Answer>(
  deps: AdmissionDeps,
  steps: Steps<Item, Answer>,
): Admission<Item> {
  const { clock, idleMs } = deps
  const signers = newGroup()
  const strangers = newGroup()
  let round = 0
  let isInRound = false
  let heads = 0
  let startedAt = -Infinity
  /** The earliest time at which the requests of this round may have arrived. */
  let waitingSince = 0
  let wasIdle = true
  let idleAtEnd = -Infinity
  let watchedFrom = clock.monotonic()
  let idleAtWatch = idleMs()
  let lasts = false
  let queued = 0
  let servingSince = 0
  let meanMs = FIRST_GUESS_MS

  function beginRound(now: number): void {
    isInRound = true
    round += 1
    heads = 0
    wasIdle = idleMs() - idleAtEnd > IDLE_MS
    waitingSince = wasIdle ? now : startedAt
    startedAt = now
    for (const group of [signers, strangers]) {
      group.headsBefore = group.heads
      group.heads = 0
      const isCrowded = lasts && group.headsBefore > CROWD
      group.allowance = isCrowded ? CROWD * (CROWD / group.headsBefore) ** STEEPNESS : Infinity
    }
    setImmediate(endRound)
  }

  function endRound(): void {
    isInRound = false
    const now = clock.monotonic()
    idleAtEnd = idleMs()
    const watchedMs = now - watchedFrom
    if (watchedMs < WATCHED_MS) return
    lasts = idleAtEnd - idleAtWatch < watchedMs * IDLE_SHARE
    watchedFrom = now
    idleAtWatch = idleAtEnd
  }

  function strike(conduct: Conduct): boolean {
    conduct.strikes += 1
    return conduct.strikes >= MAX_STRIKES
  }

  const limitOf = (group: Group) => (group.headsBefore > CROWD ? deps.limitMs : deps.deadlineMs)

  /** Reports whether one more request of this group can be answered in time. */
  function hasRoom(group: Group, now: number): boolean {
    heads += 1
    group.heads += 1
    if (heads <= FIRST) return true
    const ageMs = now - waitingSince + queued * meanMs
    return group.heads <= group.allowance && ageMs <= limitOf(group)
  }

  const batch = createBatch(
    {
      first: FIRST,
      isLate: () => clock.monotonic() - waitingSince > limitOf(signers),
      onServing() {
        servingSince = clock.monotonic()
        queued = 0
      },
      onServed(count) {
        if (count === 0) return
        const sample = (clock.monotonic() - servingSince) / count
        meanMs += NEWEST * (Math.min(sample, MAX_SAMPLE * meanMs) - meanMs)
      },
    },
    steps,
  )

  const isSigner = ({ hasSigned, strikes }: Conduct) => hasSigned && strikes < SUSPECT

  function decide(conduct: Conduct, isExempt: boolean, now: number): Verdict {
    if (isSigner(conduct)) return isExempt || hasRoom(signers, now) ? 'serve' : 'shed'
    const { inRound, strikes } = conduct
    const isTrusted = strikes === 0 || (wasIdle && strikes < SUSPECT)
    const share = isTrusted ? conduct.share : SMALL_SHARE
    if (inRound <= share && (isExempt || hasRoom(strangers, now))) return 'serve'
    if (inRound > FLOOD * share) return 'close'
    // The first requests of a new connection may be valid, so the connection is not suspect yet.
    conduct.sheds += 1
    const isOver = (strikes > 0 && strike(conduct)) || conduct.sheds >= MAX_STRIKES
    return isOver ? 'close' : 'shed'
  }

  return {
    judge(conduct, isExempt) {
      const now = clock.monotonic()
      if (!isInRound) beginRound(now)
      if (conduct.round !== round) {
        conduct.round = round
        conduct.inRound = 0
      }
      conduct.inRound += 1
      const verdict = decide(conduct, isExempt, now)
      // Serve admitted requests now; otherwise they would become late while many more are read and
      // rejected.
      if (verdict !== 'serve') batch.flush()
      return verdict
    },
    serve(item) {
      if (!isInRound) beginRound(clock.monotonic())
      queued += 1
      batch.add(item)
    },
    note(conduct, signature) {
      // A caller whose signed request is refused for lack of time did nothing wrong.
      if (signature === 'unchecked') return !conduct.hasSigned && strike(conduct)
      if (signature === 'not required') return conduct.inRound > SMALL_SHARE && strike(conduct)
      if (signature === 'bad') return strike(conduct)
      conduct.hasSigned = true
      conduct.strikes = 0
      conduct.sheds = 0
      return false
    },
  }
}
