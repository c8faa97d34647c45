/**
 * The gate is checked before an operation, and again in the tick in which the response is handed to
 * the socket. It uses no promise and no I/O. docs/revocation.md says what the gate guarantees and
 * why the guarantee holds.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { RequestSubject } from '../../core/request.ts'
import { GateError, type GateErrorCode, type Switch } from '../model.ts'
import { createLease } from './lease.ts'
import { enforces, NO_RULES, type Rules } from './rules.ts'

/** A request in progress: it has passed the first check and must pass the second. */
export interface GatePass {
  readonly subject: RequestSubject
  /** GetKeyMetadata of a blocked key still succeeds, and returns DISABLED. */
  readonly isKeyBlocked: boolean
  /** Epoch of the rules that let the request pass. */
  readonly epoch: number
}

export interface Gate {
  /** @throws GateError */
  check(subject: RequestSubject): GatePass
  /** Call right before the write, in the same tick. Ends the pass in any case. @throws GateError */
  release(pass: GatePass): void
  /** Ends the pass of a request that has no response to release. */
  abandon(pass: GatePass): void
  /** Reports whether a released response would still be released now. */
  allows(pass: GatePass): boolean
  /**
   * Call once the kernel has the whole response.
   * @returns false if no guard is present and the lease had expired by then: the process was
   * suspended between release and write, so the response may have been sent after it resumed
   */
  wasSentInLease(): boolean
  /**
   * Reports whether the lease is held and nothing blocks this instance as a whole. Switches do not
   * count, because the instance can still respond with a refusal.
   */
  canServe(): boolean
  stats(): GateStats
}

export interface GateStats {
  readonly state: 'open' | 'refusing'
  /** The reason the gate refuses every request, which can be a switch that blocks everything. */
  readonly reason?: GateErrorCode
  /** Epoch of the rules in force. */
  readonly epoch: number
  readonly switches: number
  /** Milliseconds since the heartbeat of the last renewal was sent; Infinity before the first. */
  readonly leaseAgeMs: number
  readonly leaseLeftMs: number
  /** Number of requests between the gate's two checks. */
  readonly inFlight: number
  /**
   * Wall time of the last response that contained data, in milliseconds since the Unix epoch.
   * Probes by Latchkey's own tools do not count: they get back only what they sent.
   */
  readonly lastSuccessAt?: number
  /**
   * Number of responses that may have been sent after the lease under which they were released had
   * expired.
   */
  readonly lateAnswers: number
  /** Refusals since startup, by code. */
  readonly refusals: Readonly<Partial<Record<GateErrorCode, number>>>
}

/** Reasons that stay until they are removed explicitly. */
export type StandingReason = Extract<
  GateErrorCode,
  'EPOCH_WENT_BACK' | 'STORE_LOST' | 'HIGH_WATER_UNWRITABLE' | 'SENTINEL' | 'SIGNAL' | 'STOPPED'
>

/** The gate's interface for the poller, the sentinel check and the signal handler. */
export interface GateControl extends Gate {
  /** Takes effect immediately: every later check uses these rules. */
  apply(rules: Rules, epoch: number): void
  /** Call when the store reaches a later epoch that has the same rules. */
  advance(epoch: number): void
  /**
   * Returns false if the gate is at this epoch but does not enforce these switches. To bound the
   * cost, each call compares only the number of switches and checks the next 1,000 of them.
   */
  enforces(switches: readonly Switch[], epoch: number): boolean
  /** @param askedAt see Lease.renew */
  renew(askedAt: number): void
  refuse(reason: StandingReason): void
  /** Removes one reason to refuse; the other reasons stay. */
  accept(reason: StandingReason): void
}

/**
 * Number of switches that one call of `enforces` checks, so that a call takes well under two
 * milliseconds.
 */
const TRIED_AT_ONCE = 1000

const MESSAGES: Readonly<Record<GateErrorCode, string>> = {
  KILLED_ALL: 'all requests are blocked by a kill switch',
  KILLED_STORE: 'the key store is blocked by a kill switch',
  KILLED_KEY: 'the key is blocked by a kill switch',
  KILLED_MATCH: 'requests with this metadata are blocked by a kill switch',
  ACCESS_DEADLINE: "the dead man's switch of the key store was closed, or was not renewed in time",
  LEASE_EXPIRED: 'the control store was not read in time',
  EPOCH_WENT_BACK:
    'the control store is older than a state seen before, or no instance vouches that it is current',
  STORE_LOST: 'the control store was removed, replaced or changed outside of Latchkey',
  HIGH_WATER_UNWRITABLE: 'this instance cannot write its high-water file',
  SENTINEL: 'the sentinel file blocks this instance',
  SIGNAL: 'this instance was blocked by SIGUSR2',
  STOPPED: 'this instance is stopped',
}

/**
 * The gate is closed until the first rules are applied and the lease is renewed.
 * @param isGuarded whether lease-guard.ts is active. If so, a response that seems to have been sent
 * after the lease expired was in fact sent before `kill` reported the revocation
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
  let triedTo = 0

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
    // "ENABLED" must not be sent for a key that was blocked in the meantime.
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
      return { subject, isKeyBlocked: rules.isKeyBlocked(subject), epoch }
    },
    release(pass) {
      inFlight -= 1
      const code = checkAgain(pass)
      if (code !== undefined) throw toError(code)
      const { operation, isProbe } = pass.subject
      if (isProbe === true) return
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
    advance(at) {
      epoch = at
    },
    enforces(switches, at) {
      if (at !== epoch) return true
      if (triedTo >= switches.length) triedTo = 0
      const tried = switches.slice(triedTo, triedTo + TRIED_AT_ONCE)
      triedTo += tried.length
      return enforces(rules, switches, tried)
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
