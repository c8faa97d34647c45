/**
 * The instance's side of the kill switch: reads the epoch, applies what changed, acknowledges it,
 * and renews the lease, in this order. docs/revocation.md says why.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import type { Logger } from '../../core/logger.ts'
import { type Periodic, periodic } from '../../core/periodic.ts'
import { StorageError, type Reader } from '../../store/database.ts'
import { type EpochMark, continues, readMark } from '../../store/epochs.ts'
import { readState } from '../../store/sealed-state.ts'
import type { Store } from '../../store/store.ts'
import { createAccessDeadlines, createRules } from '../gate/rules.ts'
import type { GateControl } from '../gate/gate.ts'
import type { LeaseGuard } from '../gate/guard/lease-guard.ts'
import { createLeaseEnd } from '../gate/lease-timer.ts'
import { GateError } from '../model.ts'
import { createControlFeed, createRegistrationFeed } from './control-feed.ts'
import { sendHeartbeat } from './heartbeat.ts'
import { createNewcomer, type HighWater } from './high-water.ts'
import { deregister, type InstanceIdentity, register } from './instances.ts'

export interface Poller {
  /**
   * Polls immediately, then once per interval. Does not reject: without an answer the gate stays
   * closed.
   */
  start(): Promise<void>
  /**
   * Call when the store turned out to be untrustworthy. The next poll reads all sealed rows again,
   * as after a change, and refuses everything if it finds the same problem.
   */
  lookAgain(): void
  /** Closes the gate permanently and deregisters the instance. */
  stop(): Promise<void>
}

export interface EpochFollower {
  /**
   * Reads in the same snapshot as the switches. Returns a function that prepares what was read, which in turn returns the
   * function that applies it. The poller applies it at once, before it acknowledges the epoch.
   */
  read(reader: Reader): Promise<() => Promise<() => void>>
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
  /** Follows epochs together with the switches, to apply policies. */
  readonly follower?: EpochFollower | undefined
  /**
   * Ends the answers that were released before the gate closed and that the kernel does not have
   * yet. Resolves when none is left.
   */
  readonly cutRevoked: () => Promise<void>
  /** Reloads keys and credentials. A rejection is logged, and the next poll calls it again. */
  readonly onChange: (epoch: number) => Promise<void>
  readonly logger: Logger
}

export function createPoller(deps: PollerDeps): Poller {
  const { clock, gate, store, me, highWater } = deps
  const { database } = store
  const control = createControlFeed(store)
  const registrations = createRegistrationFeed(store)
  const accessDeadlines = createAccessDeadlines()
  const leaseEnd = createLeaseEnd(deps)
  const isVouched = createNewcomer(me, highWater)
  let applied: EpochMark | undefined
  let acked: EpochMark = { epoch: -1, tag: '' }
  let beat = 0
  let renewedBeat = 0
  /** Monotonic milliseconds since which a lease has been held without a gap. */
  let heldSince = Infinity
  let hasRow = false
  /** True while keys and credentials are still those of an earlier epoch. */
  let isBehind = true
  let failing: 'store' | 'mark' | undefined
  let polling: Periodic | undefined

  async function ask() {
    if (!hasRow) {
      await register(store, me, highWater.mark?.epoch ?? -1)
      hasRow = true
    }
    const { state, reason = null, lastSuccessAt = null, inFlight, leaseLeftMs } = gate.stats()
    beat += 1
    const heldMs = leaseLeftMs > 0 ? Math.max(0, Math.floor(clock.monotonic() - heldSince)) : 0
    const answer = await sendHeartbeat(store, me, {
      ...{ beat, ackedEpoch: acked.epoch, ackedTag: acked.tag },
      ...{ highEpoch: highWater.mark?.epoch ?? -1, state, reason, lastSuccessAt, inFlight },
      ...{ renewedBeat, heldMs },
    })
    if (answer === undefined) throw notRegistered()
    if (answer.storeId !== store.id) {
      throw new StorageError('STORE_REPLACED', 'the database now holds a different store')
    }
    return answer
  }

  /**
   * Until the registration is back, no kill would wait for us, so this poll must not renew the
   * lease.
   */
  function notRegistered(): StorageError {
    hasRow = false
    return new StorageError('STORE_FAILED', 'this instance is no longer registered')
  }

  async function readNow(reader: Reader): Promise<number> {
    const [row] = await reader.query(`SELECT ${database.nowSql} AS now`)
    return Number(row?.['now'])
  }

  async function applyChanges(): Promise<void> {
    const askedAt = clock.monotonic()
    const found = await database.snapshot(async (reader) => {
      await store.refreshKeys(reader)
      const sealed = await readState(reader, store.sealing)
      const state = await control.read(reader, sealed)
      const seen = highWater.mark
      const goesOn =
        seen === undefined
          ? await isVouched(reader, store.sealing)
          : await continues(reader, store.sealing, state.epoch, seen)
      const isListed = await registrations.isListed(reader, sealed, me.id)
      const now = state.deadManSwitches.length === 0 ? 0 : await readNow(reader)
      const prepare = await deps.follower?.read(reader)
      return { state, goesOn, isListed, now, prepare }
    })
    const { state } = found
    const { mark } = state
    if (!found.goesOn) {
      gate.refuse('EPOCH_WENT_BACK')
      throw wentBack(state.epoch, highWater)
    }
    // Renew the lease only if every kill after this epoch is guaranteed to wait for this instance.
    if (!found.isListed) throw notRegistered()
    const ends = accessDeadlines.update(state.deadManSwitches, { askedAt, now: found.now })
    gate.apply(createRules(state.switches, ends), state.epoch)
    const applyFollower = await found.prepare?.()
    applyFollower?.()
    // From here on both checks use the new rules. Only answers that passed the checks earlier can
    // still violate them.
    await deps.cutRevoked()
    await highWater.raise(mark)
    gate.accept('HIGH_WATER_UNWRITABLE')
    applied = mark
    acked = mark
    isBehind = true
    gate.accept('EPOCH_WENT_BACK')
  }

  /**
   * A kill that cannot be written still raises the epoch. We must not serve from a store that is
   * restored to an earlier state, so the mark counts as seen: only a holder of the store's key can
   * have created it. A mark of another history does not count, however high its epoch is.
   */
  async function rememberEpoch(epoch: number): Promise<void> {
    const seen = highWater.mark
    if (seen === undefined) return
    const read = async (reader: Reader) =>
      (await continues(reader, store.sealing, epoch, seen))
        ? readMark(reader, store.sealing, epoch)
        : undefined
    const mark = await database.snapshot(read).catch(() => undefined)
    if (mark !== undefined && mark.tag !== '') await highWater.raise(mark)
  }

  async function poll(): Promise<void> {
    for (;;) {
      const mark = leaseEnd.mark()
      const askedAt = clock.monotonic()
      const { epoch, tag } = await ask()
      if (store.fault === undefined && epoch === applied?.epoch && tag === applied.tag) {
        gate.accept('STORE_LOST')
        if (heldSince === Infinity || !(gate.stats().leaseLeftMs > 0)) heldSince = askedAt
        gate.renew(askedAt)
        renewedBeat = beat
        leaseEnd.watch(mark)
        return
      }
      try {
        if (store.fault !== undefined) throw store.fault
        await applyChanges()
      } catch (error) {
        if (isLoss(error)) {
          // Everything is refused now, including whatever this epoch blocks. This acknowledgement
          // must not vouch for the store.
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
      if (isBehind) {
        await deps.onChange(acked.epoch)
        isBehind = false
      }
      const { epoch } = acked
      if (failing === 'store') deps.logger.warn('the control store is readable again', { epoch })
      if (failing === 'mark')
        deps.logger.warn('the high-water file can be written again', { epoch })
      failing = undefined
    } catch (error) {
      if (isLoss(error)) {
        gate.refuse('STORE_LOST')
        applied = undefined
      }
      const kind = error instanceof GateError ? 'mark' : 'store'
      // The epoch stays unacknowledged: after a restart without its mark, this host could trust an
      // older store.
      if (kind === 'mark') gate.refuse('HIGH_WATER_UNWRITABLE')
      // Logged once per outage: at four polls a second, a line for each would flood the log.
      if (failing !== kind) warnOf(kind, error)
      failing = kind
    }
  }

  function warnOf(kind: 'store' | 'mark', err: unknown): void {
    if (kind === 'store') deps.logger.warn('the control store cannot be read', { err })
    else deps.logger.warn('the high-water file cannot be written: everything is refused', { err })
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
      control.forget()
      applied = undefined
    },
    async stop() {
      await polling?.stop()
      gate.refuse('STOPPED')
      await deps.cutRevoked()
      leaseEnd.stop()
      if (hasRow) await deregister(store, me.id).catch(() => undefined)
    },
  }
}

function wentBack(epoch: number, { mark, isForeign }: HighWater): StorageError {
  const hint = 'repeat the kills made since then, then run latchkey control accept-epoch'
  const found =
    mark !== undefined
      ? `the store is at epoch ${String(epoch)}, which does not continue the history seen up to epoch ${String(mark.epoch)}`
      : isForeign
        ? 'the high-water file of this host belongs to another store'
        : `this host has no high-water mark of the store, and no other instance vouches for its epoch ${String(epoch)}`
  return new StorageError('STORE_REPLACED', found, {
    hint:
      mark === undefined
        ? 'check that the store has every kill, then run latchkey control accept-epoch while this server runs'
        : hint,
  })
}

/** Reports whether the store is no longer trustworthy, as opposed to an outage, which may pass. */
export function isLoss(error: unknown): boolean {
  if (!(error instanceof StorageError)) return false
  return ['STORE_REPLACED', 'STORE_TAMPERED', 'STORE_CORRUPT', 'STORE_MISSING'].includes(error.code)
}
