/** The instances that a kill waits for: what each has reported, and when its lease must have ended. */
// SPDX-License-Identifier: Apache-2.0
import type { dismissInstances } from '../instance/dismissal.ts'
import type { Instance } from '../instance/instances.ts'
import type { Switch } from '../model.ts'

/** The part of a kill, or of another change, that is needed to wait for all instances. */
export interface PendingKill {
  /** Undefined when the store was changed from outside; instances then refuse everything. */
  readonly switch?: Switch | undefined
  /** An instance that has acknowledged this epoch refuses what the switch blocks. */
  readonly epoch: number
  readonly tag: string
  /**
   * Verified instances that were registered when the kill was written. An instance that registers
   * later reads the switch first. Undefined when the store was changed from outside, because the
   * list then cannot be verified.
   */
  readonly registered?: readonly Instance[]
  /** Monotonic time in milliseconds, taken when the commit was confirmed. */
  readonly committedAt: number
  /** Monotonic time in milliseconds, taken before anything was written. */
  readonly startedAt: number
}

export interface InstanceOutcome {
  readonly id: string
  readonly group: string
  readonly host: string
  readonly pid: number
  readonly worker: number
  /** `waiting` occurs only when the caller did not wait, or the wait ended early. */
  readonly how: 'acknowledged' | 'lease-ended' | 'left' | 'waiting'
  /** Milliseconds from the start of the kill until this outcome was known. */
  readonly afterMs: number
  /** Wall time of the instance's last response that contained data, as last reported. */
  readonly lastSuccessAt: number | null
  /** Number of requests between the gate's two checks, as last reported. */
  readonly inFlight: number
}

export interface Revocation {
  readonly isComplete: boolean
  readonly epoch: number
  readonly instances: readonly InstanceOutcome[]
  /** Milliseconds from the start of the kill. */
  readonly elapsedMs: number
}

/** State of the instances in one snapshot of the store. */
export interface Sight {
  readonly instances: readonly Instance[]
  /** Ids of instances that have acknowledged the kill in this history of the store. */
  readonly acknowledged: ReadonlySet<string>
  /** Ids of registered instances; undefined when the registrations cannot be verified. */
  readonly registered: ReadonlySet<string> | undefined
}

/** The clocks of two machines differ in rate by far less than this. */
const RATE_MARGIN = 0.01
/**
 * Margin that exceeds the grace period of lease-guard.ts, which cuts responses that a suspended
 * process had released under its lease. The margin also equals KMS's timeout for a response (XKS
 * 1.0.3, Encrypt, Decrypt): without the guard, a response sent when the process resumes after this
 * time reaches a call that has already failed.
 */
const MARGIN_MS = 250

/**
 * Returns the time in milliseconds after a commit by which every instance that has not seen the
 * commit refuses everything: the lease, which starts before the instance sends its query and so
 * before the commit, plus a margin for clock differences.
 */
export function leaseEndMs(leaseMs: number): number {
  return leaseMs * (1 + RATE_MARGIN) + MARGIN_MS
}

interface Watched {
  readonly instance: Instance
  outcome: InstanceOutcome
  /** `beat` of the instance in the first snapshot after the commit. */
  first: number | undefined
  beat: number | undefined
  /**
   * Monotonic time in milliseconds from which the instance's lease runs at most: the commit, or the
   * time at which a later renewal was seen.
   */
  leaseFrom: number
  /** Monotonic time in milliseconds since which `beat` has not changed. */
  since: number
}

export class WaitingFleet {
  readonly #kill: PendingKill
  readonly #watched = new Map<string, Watched>()
  #longest: number
  /**
   * Whether an instance that would have noticed an older copy of the store has acknowledged the
   * kill.
   */
  #isVouched = false
  #isKnown: boolean

  constructor(kill: PendingKill, leaseMs: number) {
    this.#kill = kill
    this.#isKnown = kill.registered !== undefined
    this.#longest = Math.max(leaseMs, ...(kill.registered ?? []).map((one) => one.leaseMs))
    for (const one of kill.registered ?? []) this.#watch(one, 0)
  }

  /** Whether the store has ever listed the instances. */
  get isKnown(): boolean {
    return this.#isKnown
  }

  get outcomes(): readonly InstanceOutcome[] {
    return [...this.#watched.values()].map(({ outcome }) => outcome)
  }

  /**
   * Reports whether an instance renewed its lease with a poll after the commit but did not
   * acknowledge the kill. That cannot happen if the store is as the kill left it. The poll that
   * follows the first snapshot may have begun before the commit, because a database shows a row only
   * once its own commit is durable. The one after that cannot, since an instance polls
   * sequentially.
   */
  contradicts({ instances, acknowledged }: Sight): boolean {
    return instances.some(({ id, isGenuine, renewedBeat }) => {
      const first = this.#watched.get(id)?.first
      return isGenuine && first !== undefined && renewedBeat > first + 1 && !acknowledged.has(id)
    })
  }

  /** @param found undefined if the store did not respond */
  take(found: Sight | undefined, now: number): void {
    if (found !== undefined) this.#takeSight(found, now)
    for (const one of this.#watched.values()) {
      if (one.outcome.how !== 'waiting') continue
      if (found?.registered?.has(one.instance.id) === false && one.instance.registeredEpoch >= 0) {
        // The instance stopped, or another process removed it after a whole lease. This is certain,
        // because only a sealed change can remove a registration.
        this.#settle(one, one.instance, 'left', now)
      } else if (hasEnded(this.#leaseOf(one.instance), one.leaseFrom, now)) {
        this.#settle(one, one.instance, 'lease-ended', now)
      }
    }
  }

  isDone(now: number): boolean {
    const isWaiting = [...this.#watched.values()].some(({ outcome }) => outcome.how === 'waiting')
    return (
      this.#isKnown &&
      !isWaiting &&
      (this.#isVouched || hasEnded(this.#longest, this.#kill.committedAt, now))
    )
  }

  describeWaiting(): string {
    if (!this.#isKnown) return 'the list of instances could not be read from the store'
    const waiting = this.outcomes.filter(({ how }) => how === 'waiting').length
    return waiting === 0
      ? 'no instance has vouched for the store'
      : `${String(waiting)} of ${String(this.#watched.size)} instances have not acknowledged the switch`
  }

  /** Returns the argument for `dismissInstances`. */
  findDead(now: number): Parameters<typeof dismissInstances>[1] {
    const silent: Instance[] = []
    const over: Instance[] = []
    for (const { instance, outcome, since } of this.#watched.values()) {
      if (outcome.how !== 'lease-ended' || instance.registeredEpoch < 0) continue
      if (instance.isDismissed) over.push(instance)
      else if (now - since > leaseEndMs(instance.leaseMs)) silent.push(instance)
    }
    return { silent, over }
  }

  #takeSight({ instances, acknowledged }: Sight, now: number): void {
    const { committedAt } = this.#kill
    this.#isKnown = true
    for (const one of instances) {
      if (one.isGenuine) this.#longest = Math.max(this.#longest, one.leaseMs)
      // An instance that registers after the commit reads the switch before it serves.
      if (!this.#watched.has(one.id) && this.#isNew(one)) continue
      const watched = this.#watched.get(one.id) ?? this.#watch(one, now)
      if (watched.beat !== one.beat) {
        watched.beat = one.beat
        watched.since = now
      }
      if (one.isGenuine) {
        watched.first ??= one.beat
        // The poll of this renewal may not have seen the kill; see `contradicts`.
        if (watched.leaseFrom === committedAt && one.renewedBeat > watched.first)
          watched.leaseFrom = now
      }
      const hasAcknowledged = acknowledged.has(one.id)
      if (watched.outcome.how === 'waiting') {
        this.#settle(watched, one, hasAcknowledged ? 'acknowledged' : 'waiting', now)
      }
      const isRegistered = watched.instance.registeredEpoch >= 0
      if (hasAcknowledged && isRegistered && one.heldMs >= this.#longest) this.#isVouched = true
    }
  }

  /** Whether the instance registered after the commit. */
  #isNew(one: Instance): boolean {
    return this.#kill.registered !== undefined && one.isGenuine
  }

  #watch(instance: Instance, now: number): Watched {
    const { id, group, host, pid, worker, lastSuccessAt, inFlight } = instance
    const who = { id, group, host, pid, worker }
    const outcome = { ...who, how: 'waiting' as const, afterMs: 0, lastSuccessAt, inFlight }
    const { committedAt } = this.#kill
    const unseen = { first: undefined, beat: undefined, leaseFrom: committedAt, since: now }
    const watched = { instance, outcome, ...unseen }
    this.#watched.set(id, watched)
    return watched
  }

  #settle(watched: Watched, said: Instance, how: InstanceOutcome['how'], now: number): void {
    const { lastSuccessAt, inFlight } = said
    const afterMs = now - this.#kill.startedAt
    watched.outcome = { ...watched.outcome, how, afterMs, lastSuccessAt, inFlight }
  }

  #leaseOf({ registeredEpoch, leaseMs }: Instance): number {
    return registeredEpoch >= 0 ? leaseMs : Math.max(leaseMs, this.#longest)
  }
}

function hasEnded(leaseMs: number, from: number, now: number): boolean {
  return now - from > leaseEndMs(leaseMs)
}
