/**
 * The kill switch of a serving process: gate, lease, poller, sentinel file, and the other running
 * instances.
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
import { type EpochFollower, createPoller, isLoss } from '../killswitch/instance/poller.ts'
import { createFleetSize, type Fleet } from '../killswitch/instance/fleet-size.ts'
import { loadControlState } from '../killswitch/switch-table.ts'
import type { Store } from '../store/store.ts'
import { findStoreWarnings } from '../store/warnings.ts'

export interface ControlledGate {
  /** Id of this process in the registry, and whether it is the first of its `serve`. */
  readonly id: string
  readonly isFirst: boolean
  readonly gate: Gate
  /** Call `protect` with the port before the listener accepts its first connection. */
  readonly guard: Pick<LeaseGuard, 'missing' | 'protect' | 'stats'>
  readonly fleet: () => Fleet
  /** Undefined in all worker processes but the first. */
  readonly figures: () => ControlFigures | undefined
  /** Runs the first poll and the sentinel check, and then continues in the background. */
  start(): Promise<void>
  /** Handles SIGUSR2. */
  block(): Promise<void>
}

export interface GateDeps {
  /** Id of `latchkey serve`, which the log and the traces have, too. */
  readonly instanceId: string
  readonly config: Config
  readonly store: Store
  readonly clock: Clock
  readonly version: string
  /** Absent if this process is the whole of `latchkey serve`. */
  readonly worker: { readonly number: number; readonly group: string } | undefined
  readonly logger: Logger
  readonly follower: EpochFollower | undefined
  readonly onChange: () => Promise<void>
  /** Forwards to the listener, once there is one. */
  readonly cutRevoked: () => Promise<void>
}

/** Interval in milliseconds for counting instances and checking timed switches. */
const HOUSEKEEPING_MS = 1000
/** Interval in milliseconds for reading what warnings and metrics say about the control state. */
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
  // A primary passes the signal on to its workers.
  const onSignal = () => void block.block()
  const fleetSize = createFleetSize(store, clock)
  const expiry = createExpiry({
    ...{ store, clock, operator: `instance ${id}` },
    onLoaded({ switches, epoch }) {
      if (gate.enforces(switches, epoch)) return
      logger.error('the gate does not enforce the switches of the store; loading them again', {
        epoch,
      })
      poller.lookAgain()
    },
  })
  const watch = createControlWatch({
    ...{ now: () => clock.now(), logger },
    load: () => store.database.snapshot((reader) => loadControlState(reader, store.sealing)),
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
      cleanup.add(repeat(HOUSEKEEPING_MS, () => fleetSize.take()))
      cleanup.add(
        repeat(HOUSEKEEPING_MS, () =>
          expiry.run().catch((error: unknown) => {
            // Expiry reads all switches, so it can find damage that raised no epoch.
            if (isLoss(error)) poller.lookAgain()
          }),
        ),
      )
      // A failed audit becomes the store's fault, and the next poll refuses everything.
      cleanup.add(repeatWithin(AUDIT_SHARE, HOUSEKEEPING_MS, clock, () => store.audit()))
      // Only one process per host logs these warnings.
      if ((deps.worker?.number ?? 0) <= 1) {
        if (guard.missing !== undefined) {
          logger.warn('lease guard is not available', { reason: guard.missing })
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

/** Share of its time that a process spends on audits, however large the store is. */
const AUDIT_SHARE = 0.1

/** Repeats every `leastMs`, or less often if one run would take more than `share` of the time. */
function repeatWithin(
  share: number,
  leastMs: number,
  clock: Clock,
  work: () => Promise<void>,
): () => Promise<void> {
  let notBefore = 0
  return repeat(leastMs, async () => {
    const startedAt = clock.monotonic()
    if (startedAt < notBefore) return
    await work().finally(() => {
      const endedAt = clock.monotonic()
      notBefore = endedAt + (endedAt - startedAt) * (1 / share - 1) - leastMs
    })
  })
}

/** Failures are retried at the next interval; the poller reports a store that cannot be reached. */
const repeat = (intervalMs: number, work: () => Promise<void>) =>
  periodic({ intervalMs, work, onError: () => undefined }).stop
