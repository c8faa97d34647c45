/**
 * THE GATE: asked before an operation, and once more in the tick in which its answer is handed to the
 * socket. No promise, no I/O. What it promises, and why that holds: docs/revocation.md.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { RequestSubject } from '../../core/request.ts'
import { GateError, type GateErrorCode } from '../model.ts'
import { createLease } from './lease.ts'
import { NO_RULES, type Rules } from './rules.ts'

/** A request that is under way: it has passed once, and has to pass again. */
export interface GatePass {
  readonly subject: RequestSubject
  /** GetKeyMetadata of a blocked key goes on, and answers DISABLED. */
  readonly isKeyBlocked: boolean
}

export interface Gate {
  /** @throws GateError */
  check(subject: RequestSubject): GatePass
  /** In the tick of the write, right before it; the pass ends, whatever comes. @throws GateError */
  release(pass: GatePass): void
  /** Ends a pass whose request did not come to an answer worth releasing. */
  abandon(pass: GatePass): void
  /** Whether a released answer would be released now too. */
  allows(pass: GatePass): boolean
  /**
   * When all of a released answer is with the kernel. @returns false when the lease had ended by then, and nothing
   * guards its end: this process was stopped between the two, and the answer may have left when it went on
   */
  wasSentInLease(): boolean
  /** Whether the lease is held and nothing stops this instance as a whole. Switches do not count: they are answers. */
  canServe(): boolean
  stats(): GateStats
}

export interface GateStats {
  readonly state: 'open' | 'refusing'
  /** Why it refuses everything; a switch for everything counts too. */
  readonly reason?: GateErrorCode
  /** Of the rules that it goes by. */
  readonly epoch: number
  readonly switches: number
  /** Since the question of the last renewal; Infinity before the first. */
  readonly leaseAgeMs: number
  readonly leaseLeftMs: number
  /** Requests between the two checks. */
  readonly inFlight: number
  /** Wall time of the last answer with data in it, milliseconds since the Unix epoch. */
  readonly lastSuccessAt?: number
  /** Answers that may have left after the lease under which they were released. */
  readonly lateAnswers: number
  /** By code, since the start. */
  readonly refusals: Readonly<Partial<Record<GateErrorCode, number>>>
}

/** Reasons that stand until somebody takes them away. */
export type StandingReason = Extract<
  GateErrorCode,
  'EPOCH_WENT_BACK' | 'STORE_LOST' | 'HIGH_WATER_UNWRITABLE' | 'SENTINEL' | 'SIGNAL' | 'STOPPED'
>

/** The gate as those see it who work it: the poller, the sentinel, the signal. */
export interface GateControl extends Gate {
  /** From the next statement on, everything is judged by these rules. */
  apply(rules: Rules, epoch: number): void
  /** @param askedAt see Lease.renew */
  renew(askedAt: number): void
  refuse(reason: StandingReason): void
  /** Takes away one reason to refuse; others stay. */
  accept(reason: StandingReason): void
}

const MESSAGES: Readonly<Record<GateErrorCode, string>> = {
  KILLED_ALL: 'everything is blocked by a kill switch',
  KILLED_STORE: 'the key store is blocked by a kill switch',
  KILLED_KEY: 'the key is blocked by a kill switch',
  KILLED_MATCH: 'requests with this metadata are blocked by a kill switch',
  ACCESS_DEADLINE: "the dead man's switch of the key store was closed, or was not renewed in time",
  LEASE_EXPIRED: 'the control store was not read in time',
  EPOCH_WENT_BACK: 'the control store is older than what was seen before',
  STORE_LOST: 'the control store was removed, replaced or changed from outside',
  HIGH_WATER_UNWRITABLE: 'this instance cannot write its high-water file',
  SENTINEL: 'the sentinel file blocks this instance',
  SIGNAL: 'this instance was blocked by SIGUSR2',
  STOPPED: 'this instance is stopped',
}

/**
 * Closed until the first rules are applied and the lease is renewed.
 * @param isGuarded lease-guard.ts is there: what is seen to have left after the lease left before `kill` says so
 */
export function createGate(clock: Clock, leaseMs: number, isGuarded = false): GateControl {
  const lease = createLease(clock, leaseMs)
  const standing = new Set<StandingReason>()
  const refusals: Partial<Record<GateErrorCode, number>> = {}
  let rules: Rules = NO_RULES
  let epoch = -1
  let inFlight = 0
  let lastSuccessAt: number | undefined
  let lateAnswers = 0

  function general(): GateErrorCode | undefined {
    for (const reason of standing) return reason
    return epoch >= 0 && lease.isHeld() ? undefined : 'LEASE_EXPIRED'
  }

  function refusal(subject: RequestSubject): GateErrorCode | undefined {
    const code = general() ?? rules.refusal(subject)
    if (code !== undefined) return code
    const deadline = rules.accessDeadline(subject.keyStore)
    if (deadline === undefined) return undefined
    const isOpen = clock.monotonic() < deadline.monotonicAt && clock.now() < deadline.wallAt
    return isOpen ? undefined : 'ACCESS_DEADLINE'
  }

  function checkAgain({ subject, isKeyBlocked }: GatePass): GateErrorCode | undefined {
    const code = refusal(subject)
    if (code !== undefined) return code
    // "ENABLED" must not leave for a key that was blocked meanwhile.
    return rules.isKeyBlocked(subject) && !isKeyBlocked ? 'KILLED_KEY' : undefined
  }

  function toError(code: GateErrorCode): GateError {
    refusals[code] = (refusals[code] ?? 0) + 1
    return new GateError(code, MESSAGES[code])
  }

  return {
    check(subject) {
      const code = refusal(subject)
      if (code !== undefined) throw toError(code)
      inFlight += 1
      return { subject, isKeyBlocked: rules.isKeyBlocked(subject) }
    },
    release(pass) {
      inFlight -= 1
      const code = checkAgain(pass)
      if (code !== undefined) throw toError(code)
      const { operation } = pass.subject
      if (operation === 'Encrypt' || operation === 'Decrypt') lastSuccessAt = clock.now()
    },
    abandon() {
      inFlight -= 1
    },
    allows: (pass) => checkAgain(pass) === undefined,
    wasSentInLease() {
      if (isGuarded || lease.leftMs() > 0) return true
      lateAnswers += 1
      return false
    },
    canServe: () => general() === undefined,
    stats() {
      const reason = general() ?? rules.refusal({ keyStore: '', operation: 'GetHealthStatus' })
      return {
        state: reason === undefined ? 'open' : 'refusing',
        ...(reason === undefined ? {} : { reason }),
        epoch,
        switches: rules.size,
        leaseAgeMs: lease.ageMs(),
        leaseLeftMs: lease.leftMs(),
        inFlight,
        lateAnswers,
        ...(lastSuccessAt === undefined ? {} : { lastSuccessAt }),
        refusals: { ...refusals },
      }
    },
    apply(next, at) {
      rules = next
      epoch = at
    },
    renew: lease.renew,
    refuse(reason) {
      standing.add(reason)
    },
    accept(reason) {
      standing.delete(reason)
    },
  }
}
