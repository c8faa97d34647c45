/**
 * The kill switch of a serving process, which consists of the gate, the lease, the poller, the
 * sentinel file, and the watch on the other running instances.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import type { Cleanup } from '../core/cleanup.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/logger.ts'
import { periodic } from '../core/periodic.ts'
import type { Config } from '../config/config.ts'
import { createExpiry } from '../killswitch/instance/expiry.ts'
import { createGate, type Gate } from '../killswitch/gate/gate.ts'
import { openLeaseGuard, type LeaseGuard } from '../killswitch/gate/guard/lease-guard.ts'
import { openHighWater } from '../killswitch/instance/high-water.ts'
import { type ControlFigures, createControlWatch } from '../killswitch/instance/control-watch.ts'
import { createLocalBlock } from '../killswitch/instance/local-block.ts'
import { isLoss } from '../killswitch/instance/outage-log.ts'
import type { EpochFollower } from '../killswitch/instance/change-reader.ts'
import { createPoller } from '../killswitch/instance/poller.ts'
import { createHousekeeping } from '../killswitch/instance/housekeeping.ts'
import { createFleetSize, type Fleet } from '../killswitch/instance/fleet-size.ts'
import { type ControlState, loadControlState } from '../killswitch/switch-table.ts'
import type { Store } from '../store/store.ts'
import { missingRowCodes } from '../store/row-codes/row-codes.ts'
import { findStoreWarnings } from '../store/warnings.ts'

export interface ControlledGate {
  /**
   * Id of this process in the registry, and whether this process is the first one of its `latchkey
   * serve` run.
   */
  readonly id: string
  readonly isFirst: boolean
  readonly gate: Gate
  /** Call `protect` with the port before the listener accepts its first connection. */
  readonly guard: Pick<LeaseGuard, 'missing' | 'protect' | 'stats'>
  readonly fleet: () => Fleet
  /** Returns undefined in all worker processes except the first. */
  readonly figures: () => ControlFigures | undefined
  /** Runs the first poll and the sentinel check, then continues both in the background. */
  start(): Promise<void>
  /** Handles SIGUSR2. */
  block(): Promise<void>
}

export interface GateDeps {
  /** Id of this `latchkey serve` run, which also appears in the log and the traces. */
  readonly instanceId: string
  readonly config: Config
  readonly store: Store
  readonly clock: Clock
  readonly version: string
  /** Absent if `latchkey serve` runs as a single process. */
  readonly worker: { readonly number: number; readonly group: string } | undefined
  readonly logger: Logger
  readonly follower: EpochFollower | undefined
  readonly onChange: () => Promise<void>
  /** Forwards calls to the listener once the listener exists. */
  readonly cutRevoked: () => Promise<void>
}

/**
 * Interval in milliseconds for reading the data behind warnings and metrics about the control
 * state.
 */
const WATCH_MS = 10_000

/** @throws StorageError or a system error when the high-water file cannot be read */
export async function createControlledGate(
  deps: GateDeps,
  cleanup: Cleanup,
): Promise<ControlledGate> {
  const { config, store, clock, logger, cutRevoked } = deps
  const { leaseMs, sentinelFile, highWaterFile } = config.control
  const intervalMs = config.store.pollIntervalMs
  const guard = openLeaseGuard(leaseMs)
  cleanup.add(guard.close)
  const gate = createGate(clock, leaseMs, guard.missing === undefined)
  const id = deps.worker === undefined ? deps.instanceId : randomUUID()
  const poller = createPoller({
    ...{ store, clock, gate, guard, intervalMs, cutRevoked, logger },
    ...{ follower: deps.follower, onChange: deps.onChange },
    highWater: await openHighWater(highWaterFile, store.id),
    me: {
      id,
      group: deps.worker?.group ?? id,
      host: hostname(),
      pid: process.pid,
      worker: deps.worker?.number ?? 0,
      version: deps.version,
      leaseMs,
    },
  })
  const block = createLocalBlock({ path: sentinelFile, gate, intervalMs, cutRevoked, logger })
  // In a cluster, the primary passes the signal on to its workers.
  const onSignal = () => void block.block()
  const fleetSize = createFleetSize(store, clock, id)
  /** The control state that the expiry job last read. */
  let loaded: ControlState | undefined
  const expiry = createExpiry({
    ...{ store, clock, operator: `instance ${id}` },
    onLoaded(state) {
      loaded = state
      const { switches, epoch } = state
      if (gate.enforces(switches, epoch)) return
      logger.error("the gate does not enforce the store's switches; reloading them", {
        epoch,
      })
      poller.lookAgain()
    },
  })
  const housekeeping = createHousekeeping({
    clock,
    instances: () => fleetSize.fleet.instances,
    isAlarmed: () => fleetSize.isAlarmed,
  })
  const watch = createControlWatch({
    ...{ now: () => clock.now(), logger },
    load: async () =>
      loaded ?? store.database.snapshot((reader) => loadControlState(reader, store.sealing)),
  })
  const findWarnings = () =>
    findStoreWarnings(store, {
      ...{ processes: fleetSize.fleet.instances, now: clock.now() },
      maxBackupAgeMs: config.store.maxBackupAgeMs,
    }).catch(() => [])
  return {
    id,
    isFirst: (deps.worker?.number ?? 0) <= 1,
    gate,
    guard,
    fleet: () => fleetSize.fleet,
    figures: watch.figures,
    async start() {
      await block.start()
      cleanup.add(block.stop)
      process.on('SIGUSR2', onSignal)
      cleanup.add(() => void process.off('SIGUSR2', onSignal))
      await poller.start()
      cleanup.add(() => poller.stop())
      cleanup.add(housekeeping.often(() => fleetSize.take()))
      cleanup.add(
        housekeeping.often(() =>
          expiry.run().catch((error: unknown) => {
            // The expiry job reads all switches, so it can find damage that did not raise the
            // epoch.
            if (isLoss(error)) poller.lookAgain()
          }),
        ),
      )
      // A failed audit sets the store's `fault`, so after the next poll, the gate refuses every
      // request.
      cleanup.add(housekeeping.audits(() => store.audit(), store.readMs))
      // Only one process per host logs these warnings.
      if ((deps.worker?.number ?? 0) <= 1) {
        if (guard.missing !== undefined) {
          logger.warn('lease guard is not available', { reason: guard.missing })
        }
        const reason = missingRowCodes()
        if (reason !== undefined) {
          logger.info('verifying the store through node:crypto, which takes more processor time', {
            reason,
          })
        }
        await watch.look().catch(() => undefined)
        await fleetSize.take().catch(() => undefined)
        for (const warning of await findWarnings())
          logger.warn('the control store needs attention', { warning })
        cleanup.add(repeat(WATCH_MS, () => watch.look()))
      }
    },
    block: block.block,
  }
}

/** Failures are retried at the next interval; the poller reports a store that cannot be reached. */
const repeat = (intervalMs: number, work: () => Promise<void>) =>
  periodic({ intervalMs, work, onError: () => undefined }).stop
