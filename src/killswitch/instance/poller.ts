/**
 * The instance's side of the kill switch: reads the epoch, applies the changes, acknowledges the
 * epoch, and renews the lease, in this order. docs/revocation.md explains the order.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import { type Periodic, periodic } from '../../core/periodic.ts'
import { StorageError, type Reader } from '../../store/database.ts'
import { type EpochMark, continues, isQuietSince, readMark } from '../../store/epochs.ts'
import type { Store } from '../../store/store.ts'
import { createAccessDeadlines, indexRules } from '../gate/rules.ts'
import type { GateControl } from '../gate/gate.ts'
import type { LeaseGuard } from '../gate/guard/lease-guard.ts'
import { createLeaseEnd } from '../gate/lease-timer.ts'
import { GateError } from '../model.ts'
import { createChangeReader, type EpochFollower } from './change-reader.ts'
import { sendHeartbeat } from './heartbeat.ts'
import { createOutageLog, isLoss } from './outage-log.ts'
import { type HighWater, wentBack } from './high-water.ts'
import { deregister, type InstanceIdentity, register } from './instances.ts'

export interface Poller {
  /**
   * Polls immediately, then once per interval. Does not reject: if the store does not respond, the
   * gate stays closed.
   */
  start(): Promise<void>
  /**
   * Call when the store turns out to be untrustworthy. The next poll reads all sealed rows again,
   * as after a change, and refuses everything if it finds the same problem.
   */
  lookAgain(): void
  /** Closes the gate permanently and deregisters the instance. */
  stop(): Promise<void>
}

export interface PollerDeps {
  readonly store: Store
  readonly clock: Clock
  readonly gate: GateControl
  /** The poller closes the guard when it stops. */
  readonly guard: LeaseGuard
  readonly me: InstanceIdentity
  readonly highWater: HighWater
  readonly intervalMs: number
  /** Reads policies together with the switches, and applies them. */
  readonly follower?: EpochFollower | undefined
  /**
   * Cuts responses that were released before the gate closed and that the kernel does not have yet.
   * Resolves when none is left.
   */
  readonly cutRevoked: () => Promise<void>
  /**
   * Reloads keys and credentials, while polls continue. Calls do not overlap. If a reload fails,
   * the error is logged and the next poll retries.
   */
  readonly onChange: (epoch: number) => Promise<void>
  readonly logger: Logger
}

export function createPoller(deps: PollerDeps): Poller {
  const { clock, gate, store, me, highWater } = deps
  const { database } = store
  const changes = createChangeReader(deps)
  const accessDeadlines = createAccessDeadlines()
  const leaseEnd = createLeaseEnd(deps)
  let applied: EpochMark | undefined
  let acked: EpochMark = { epoch: -1, tag: '' }
  let beat = 0
  let renewedBeat = 0
  /** Monotonic time in milliseconds since which a lease has been held without a gap. */
  let heldSince = Infinity
  let hasRow = false
  /** True while the loaded keys and credentials are from an earlier epoch. */
  let isBehind = true
  const outages = createOutageLog(deps.logger)
  let polling: Periodic | undefined
  let reloading: Promise<void> | undefined

  async function ask() {
    if (!hasRow) {
      await register(store, me, highWater.mark?.epoch ?? -1)
      hasRow = true
      // An epoch that was applied before this registration does not count, so apply it again.
      applied = undefined
    }
    const { state, reason = null, lastSuccessAt = null, inFlight, leaseLeftMs } = gate.stats()
    beat += 1
    const heldMs = leaseLeftMs > 0 ? Math.max(0, Math.floor(clock.monotonic() - heldSince)) : 0
    const heart = {
      ...{ beat, ackedEpoch: acked.epoch, ackedTag: acked.tag },
      ...{ highEpoch: highWater.mark?.epoch ?? -1, state, reason, lastSuccessAt, inFlight },
      ...{ renewedBeat, heldMs },
    }
    const answer = await sendHeartbeat(store, me, heart, applied?.epoch)
    if (answer === undefined) throw notRegistered()
    if (answer.storeId !== store.id) {
      throw new StorageError('STORE_REPLACED', 'the database now holds a different store')
    }
    return answer
  }

  /**
   * Until this instance is registered again, no kill would wait for it, so this poll must not renew
   * the lease.
   */
  function notRegistered(): StorageError {
    hasRow = false
    return new StorageError('STORE_FAILED', 'this instance is no longer registered')
  }

  /** @param epoch the store's epoch as the last heartbeat found it */
  async function applyChanges(epoch: number): Promise<void> {
    const askedAt = clock.monotonic()
    const found = await changes.read(epoch)
    const { state } = found
    const { mark } = state
    if (!found.goesOn) {
      gate.refuse('EPOCH_WENT_BACK')
      throw wentBack(state.epoch, highWater)
    }
    // Renew the lease only if every kill after this epoch is guaranteed to wait for this instance.
    if (!found.isListed) throw notRegistered()
    const ends = accessDeadlines.update(state.deadManSwitches, { askedAt, now: found.now })
    gate.apply(await indexRules(state.switches, ends), state.epoch)
    const applyFollower = await found.prepare?.()
    applyFollower?.()
    // Both checks of the gate use the new rules from here on. Only responses that passed the checks
    // earlier can still violate the rules.
    await deps.cutRevoked()
    await highWater.raise(mark)
    gate.accept('HIGH_WATER_UNWRITABLE')
    applied = mark
    acked = mark
    isBehind = true
    gate.accept('EPOCH_WENT_BACK')
  }

  /**
   * Reports whether the gate has applied everything up to this epoch. Quiet epochs, in which other
   * instances only registered or left, count as applied without reading the store: the heartbeat
   * returns them. So when a large fleet starts, an instance need not read the store for each
   * instance that registers.
   */
  function isApplied(mark: EpochMark, later: string): boolean {
    if (applied === undefined) return false
    if (applied.epoch === mark.epoch && applied.tag === mark.tag) return true
    if (!isQuietSince(store.sealing, applied, mark, later)) return false
    changes.noteRegistrations()
    gate.advance(mark.epoch)
    highWater.note(mark)
    applied = mark
    acked = mark
    return true
  }

  /**
   * Raises the high-water mark to an epoch whose switches cannot be trusted. A kill that cannot be
   * written still raises the epoch, and this host must not later serve from an earlier state. Only
   * a holder of the store's key can have created the mark. A mark of another history is ignored.
   */
  async function rememberEpoch(epoch: number): Promise<void> {
    const seen = highWater.mark
    if (seen === undefined) return
    const read = async (reader: Reader) => {
      const mark = await readMark(reader, store.sealing, epoch)
      return (await continues(reader, store.sealing, mark, seen)) ? mark : undefined
    }
    const mark = await database.snapshot(read).catch(() => undefined)
    if (mark !== undefined && mark.tag !== '') await highWater.raise(mark)
  }

  async function poll(): Promise<void> {
    for (;;) {
      const mark = leaseEnd.mark()
      const askedAt = clock.monotonic()
      const { epoch, tag, later } = await ask()
      const isTrusted = store.fault === undefined && store.missingKey === undefined
      if (isTrusted && isApplied({ epoch, tag }, later)) {
        gate.accept('STORE_LOST')
        if (heldSince === Infinity || !(gate.stats().leaseLeftMs > 0)) heldSince = askedAt
        gate.renew(askedAt)
        renewedBeat = beat
        leaseEnd.watch(mark)
        return
      }
      try {
        if (store.fault !== undefined) throw store.fault
        await applyChanges(epoch)
      } catch (error) {
        if (isLoss(error)) {
          // Everything is refused now, including everything that this epoch blocks. This
          // acknowledgement must not vouch for the store.
          applied = undefined
          heldSince = Infinity
          gate.refuse('STORE_LOST')
          await deps.cutRevoked()
          await rememberEpoch(epoch)
          if (acked.epoch < epoch || (acked.epoch === epoch && acked.tag !== tag)) {
            acked = { epoch, tag }
            await ask()
          }
        }
        throw error
      }
    }
  }

  async function pollSafely(): Promise<void> {
    try {
      await poll()
      // We do not wait: a kill can wait for rows to be read, but not for thousands to be applied.
      if (isBehind) reloading ??= reload()
      else if (reloading === undefined) outages.end(acked.epoch)
    } catch (error) {
      fail(error)
    } finally {
      // We do not wait: the token may be slow. `store rekey` reports an instance without the key.
      if (store.lacksNextKey) void store.loadNextKey().catch(() => undefined)
    }
  }

  /** Never rejects. */
  async function reload(): Promise<void> {
    isBehind = false
    try {
      await deps.onChange(acked.epoch)
      outages.end(acked.epoch)
    } catch (error) {
      isBehind = true
      fail(error)
    } finally {
      reloading = undefined
    }
  }

  function fail(error: unknown): void {
    if (isLoss(error)) {
      gate.refuse('STORE_LOST')
      applied = undefined
    }
    const kind = error instanceof GateError ? 'mark' : 'store'
    // The epoch stays unacknowledged: otherwise, after a restart without its mark, this host
    // could trust an older store.
    if (kind === 'mark') gate.refuse('HIGH_WATER_UNWRITABLE')
    outages.report(kind, error)
  }

  return {
    async start() {
      polling = periodic({
        intervalMs: deps.intervalMs,
        work: pollSafely,
        onError: () => undefined, // pollSafely never rejects
      })
      await polling.runNow()
    },
    lookAgain() {
      changes.forget()
      applied = undefined
    },
    async stop() {
      await polling?.stop()
      await reloading
      gate.refuse('STOPPED')
      await deps.cutRevoked()
      leaseEnd.stop()
      if (hasRow) await deregister(store, me.id).catch(() => undefined)
    },
  }
}
