/**
 * The operators' interface to the kill switch. The command and the admin listener parse input, call
 * this interface, and render the result.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Config } from '../../config/config.ts'
import { type Clock, systemClock as clock } from '../../core/clock.ts'
import type { Scope } from '../../core/scope.ts'
import { appendEvent } from '../../store/event-log.ts'
import type { Reader } from '../../store/database.ts'
import type { Store } from '../../store/store.ts'
import { findStoreWarnings } from '../../store/warnings.ts'
import { readHighWater } from '../instance/high-water.ts'
import { loadInstances } from '../instance/instances.ts'
import { type Actor, ControlError, type Switch } from '../model.ts'
import {
  findReceipt,
  listReceipts,
  type ReceiptQuery,
  type SignedReceipt,
} from '../receipt/receipt.ts'
import { openSigner } from '../receipt/signing-key.ts'
import {
  type DeadManOrder,
  type DeadManOutcome,
  closeDeadManSwitch,
  endDeadManSwitch,
  renewDeadManSwitch,
  startDeadManSwitch,
} from './dead-man-switch.ts'
import { type Drill, type DrillOrder, drill } from './drill.ts'
import {
  type ExposureReport,
  type RehearsalOrder,
  type RehearsalReport,
  type UsageWindow,
  rehearseKill,
  reportExposure,
} from './exposure.ts'
import { type Kill, type KillOrder, kill } from './kill.ts'
import {
  type RestoreOrder,
  type RestoreOutcome,
  approveRestore,
  findSwitches,
  restore,
  withdrawRestore,
} from './restore.ts'
import {
  type ControlItems,
  type ControlList,
  type ControlPage,
  type Covers,
  loadControlPage,
} from './control-lists.ts'
import { type ControlStatus, loadStatus, type StatusView } from './status.ts'
import { type StopOptions, type StopResult, stop, writeReceipt } from './stop.ts'
import { waitForRevocation } from './wait.ts'
import type { PendingKill, Revocation } from './waiting-fleet.ts'

export interface KillSwitch {
  readonly store: Store
  /**
   * Stops what the order names: retries until the store has accepted the switch, waits until it is
   * effective on every instance, and writes the receipt.
   */
  stop(order: KillOrder, options: StopOptions): Promise<StopResult>
  /** Makes one attempt to write the switch, and does not wait. Operators use `stop` instead. */
  kill(order: KillOrder): Promise<Kill>
  /** Resolves when the kill is effective on every instance. */
  wait(kill: PendingKill): Promise<Revocation>
  /**
   * Returns the receipt of a complete revocation; undefined when the store was changed from
   * outside.
   */
  receipt(order: KillOrder, kill: Kill, revocation: Revocation): Promise<SignedReceipt | undefined>
  /**
   * Returns receipts, newest first, without proofs.
   * @param wanted receipts to return (default: all)
   */
  receipts(wanted?: ReceiptQuery): Promise<readonly SignedReceipt[]>
  /** Returns the newest receipt of a switch, with its proof. @throws ControlError NO_SUCH_RECEIPT */
  findReceipt(switchId: string): Promise<SignedReceipt>
  /** Returns the key that verifies receipts: 32 bytes in Base64. */
  publicKey(): Promise<string>
  /**
   * Runs a drill in the key store that the order names (default: the first one in the
   * configuration).
   */
  drill(order: Omit<DrillOrder, 'keyStore'> & { readonly keyStore?: string }): Promise<Drill>
  /** Returns the switches that a restore would lift. @throws ControlError NOTHING_KILLED */
  previewRestore(target: RestoreOrder['target']): Promise<readonly Switch[]>
  restore(order: RestoreOrder): Promise<RestoreOutcome>
  approve(by: Actor & { readonly id: string }): Promise<RestoreOutcome>
  withdraw(by: {
    readonly id: string
    readonly operator: string
    readonly reason: string
  }): Promise<void>
  /**
   * @param recentEvents number of the newest events to return
   * @param view limits what is returned (default: everything)
   */
  status(recentEvents: number, view?: StatusView): Promise<ControlStatus>
  /** Returns a page of a list of the status. */
  list<List extends ControlList>(
    list: List,
    page: ControlPage,
  ): Promise<readonly ControlItems[List][]>
  /**
   * Returns problems with the store, its backups and the database server that holds the store.
   * @param processes number of serving processes
   */
  storeWarnings(processes: number): Promise<readonly string[]>
  /**
   * Reports what a kill would have refused within the window. Refuses no request.
   * @param covers limits the report to the key stores that the caller may see (default: all)
   */
  rehearse(order: RehearsalOrder, window: UsageWindow, covers?: Covers): Promise<RehearsalReport>
  /**
   * Reports who fetched data keys within a scope, or within the scope of a switch in force. By
   * default, the report covers all scopes and the whole period for which usage is kept.
   * @param covers limits the report to the key stores that the caller may see (default: all)
   */
  exposure(
    about: Scope | { readonly id: string } | undefined,
    window?: { readonly since?: number | undefined; readonly probes?: boolean },
    covers?: Covers,
  ): Promise<ExposureReport>
  startDeadMan(order: DeadManOrder & { readonly ttlMs: number }): Promise<DeadManOutcome>
  renewDeadMan(order: DeadManOrder & { readonly ttlMs?: number }): Promise<DeadManOutcome>
  closeDeadMan(order: Omit<DeadManOrder, 'mayRestore'>): Promise<DeadManOutcome>
  endDeadMan(order: DeadManOrder): Promise<DeadManOutcome>
  /** @returns the epoch from which all servers continue */
  acceptEpoch(by: { readonly operator: string; readonly reason: string }): Promise<number>
  close(): Promise<void>
}

/**
 * The result of a stop, in the form that its caller sees on this host or through the admin
 * listener.
 */
export interface StopOutcome extends Omit<StopResult, 'kill'> {
  readonly kill: Pick<Kill, 'switch' | 'isNew' | 'epoch'>
}

/**
 * The part of the kill switch that commands use, either directly on the store or through the admin
 * listener.
 */
export interface Operator extends Pick<
  KillSwitch,
  | 'restore'
  | 'previewRestore'
  | 'approve'
  | 'withdraw'
  | 'status'
  | 'storeWarnings'
  | 'rehearse'
  | 'exposure'
  | 'receipts'
  | 'findReceipt'
  | 'publicKey'
  | 'drill'
  | 'startDeadMan'
  | 'renewDeadMan'
  | 'closeDeadMan'
  | 'endDeadMan'
  | 'close'
> {
  stop(order: KillOrder, options: StopOptions): Promise<StopOutcome>
}

/**
 * Creates the kill switch on a store that is already open; `close` closes that store.
 * @param openReports opens a separate handle for reports and receipts, so that no kill waits for
 * them (default: the same store)
 */
export function createKillSwitch(
  store: Store,
  config: Config,
  openReports?: () => Promise<Store>,
): KillSwitch {
  const { restore: policy, leaseMs, sentinelFile } = config.control
  const deadManDeps = { store, clock, policy }
  const reports = createReports(store, openReports)
  return {
    store,
    stop: (order, options) => stop({ store, clock, leaseMs, sentinelFile }, order, options),
    kill: (order) => kill(store, clock, order),
    wait: (one) => waitForRevocation({ store, clock, leaseMs }, one),
    receipt: (order, one, revocation) =>
      writeReceipt(store, clock, { order, kill: one, revocation }),
    receipts: async (wanted) => listReceipts(await reports.open(), wanted),
    async findReceipt(switchId) {
      const found = await findReceipt(await reports.open(), switchId)
      if (found !== undefined) return found
      throw new ControlError('NO_SUCH_RECEIPT', `there is no receipt for ${switchId}`, {
        hint: 'run latchkey receipt list to see the existing receipts',
      })
    },
    publicKey: async () => (await openSigner(store)).publicKey,
    drill: (order) =>
      drill({ store, clock, leaseMs }, { keyStore: firstKeyStore(config), ...order }),
    previewRestore: async (target) => findSwitches((await loadStatus(store, 0)).switches, target),
    restore: (order) => restore(store, clock, policy, order),
    approve: (by) => approveRestore(store, clock, policy, by),
    withdraw: (by) => withdrawRestore(store, clock, by),
    status: (recentEvents, view) => loadStatus(store, recentEvents, view),
    list: async (list, page) => loadControlPage(await reports.open(), list, page),
    storeWarnings: (processes) =>
      findStoreWarnings(store, {
        ...{ processes, now: clock.now() },
        maxBackupAgeMs: config.store.maxBackupAgeMs,
      }),
    rehearse: async (order, window, covers) =>
      rehearseKill(await reports.open(), clock, order, { ...window, covers }),
    async exposure(about, { since, probes = false } = {}, covers) {
      const until = clock.now()
      const window = { since: since ?? until - config.activity.retentionMs, until, probes, covers }
      return reportExposure(await reports.open(), clock, about, window)
    },
    startDeadMan: (order) => startDeadManSwitch(deadManDeps, order),
    renewDeadMan: (order) => renewDeadManSwitch(deadManDeps, order),
    closeDeadMan: (order) => closeDeadManSwitch(deadManDeps, order),
    endDeadMan: (order) => endDeadManSwitch(deadManDeps, order),
    async acceptEpoch(by) {
      const seen = await findSeenEpoch(config.control.highWaterFile, store.id)
      return acceptEpoch(store, clock, { ...by, seen })
    },
    async close() {
      await reports.close()
      await store.close()
    },
  }
}

/**
 * Returns the highest epoch of the store that this host has recorded, even if no server runs here;
 * 0 if the host has no mark.
 */
async function findSeenEpoch(path: string, storeId: string): Promise<number> {
  const seen = await readHighWater(path, storeId).catch(() => undefined)
  return typeof seen === 'object' ? seen.epoch : 0
}

/** A drill kills a key that has no callers, so any key store shows how fast the fleet is. */
function firstKeyStore({ keyStores: [first] }: Config): string {
  if (first === undefined) throw new TypeError('the configuration has no key store')
  return first.name
}

/** Opens the handle for the first report, and keeps it open for later reports. */
function createReports(store: Store, openReports: (() => Promise<Store>) | undefined) {
  let opening: Promise<Store> | undefined
  return {
    open(): Promise<Store> {
      if (openReports === undefined) return Promise.resolve(store)
      opening ??= openReports().catch((error: unknown) => {
        opening = undefined
        throw error
      })
      return opening
    },
    async close(): Promise<void> {
      await (await opening?.catch(() => undefined))?.close()
    },
  }
}

/**
 * Raises the epoch above every epoch that a running instance has seen, and marks the new epoch as
 * accepted. A host that was down may have seen a higher epoch. If so, it refuses requests when it
 * starts, and this function must be called again.
 * @returns the new epoch
 */
export async function acceptEpoch(
  store: Store,
  clock: Clock,
  {
    operator,
    reason,
    seen = 0,
  }: { readonly operator: string; readonly reason: string; readonly seen?: number },
): Promise<number> {
  const load = (reader: Reader) => loadInstances(reader, store.sealing)
  // Rows without a valid MAC do not count; otherwise, a huge number in one of them could use up all
  // epochs.
  const marks = (await store.database.snapshot(load)).map(({ highEpoch }) => highEpoch)
  return store.change(
    async (transaction, epoch) => {
      const event = { at: clock.now(), epoch, kind: 'epoch-accepted', operator, detail: { reason } }
      await appendEvent(transaction, store.sealing, event)
      return epoch
    },
    { minEpoch: Math.max(seen, ...marks) + 1, acceptsAny: true },
  )
}
