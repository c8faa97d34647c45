/** The kill switch as the command line and the admin listener work it: on the store, without a listener. */
// SPDX-License-Identifier: Apache-2.0
import type { Config } from '../../config/config.ts'
import { systemClock as clock } from '../../core/clock.ts'
import type { Store } from '../../store/store.ts'
import type { DeadManSwitch, Scope } from '../model.ts'
import { type Receipt, listReceipts, recordReceipt, toReceipt } from '../receipt/receipt.ts'
import type { Signed } from '../receipt/signature.ts'
import { openSigner } from '../receipt/signing-key.ts'
import {
  type DeadManOrder,
  closeDeadManSwitch,
  endDeadManSwitch,
  renewDeadManSwitch,
  startDeadManSwitch,
} from './dead-man-switch.ts'
import { type Drill, type DrillOrder, drill } from './drill.ts'
import {
  type Kill,
  type KillOrder,
  type Revocation,
  type PendingKill,
  kill,
  waitForRevocation,
} from './kill.ts'
import {
  type RestoreOrder,
  type RestoreOutcome,
  approveRestore,
  restore,
  withdrawRestore,
} from './restore.ts'
import { type ControlStatus, acceptEpoch, loadStatus } from './status.ts'
import { findDoubt } from './unknown-key.ts'

export interface Control {
  readonly store: Store
  kill(order: KillOrder): Promise<Kill>
  /**
   * What speaks against a scope, for people: a key that there is not, and that nobody has used. Undefined
   * where nothing does, and where the store does not say in time: it holds up nobody. Never rejects.
   */
  doubt(scope: Scope): Promise<string | undefined>
  /** Resolves when it holds everywhere. */
  wait(kill: PendingKill): Promise<Revocation>
  /**
   * The receipt of a revocation that is complete: signed, and kept among the events. Undefined where the
   * store was changed by others, so that nothing can be written to it.
   */
  receipt(
    order: KillOrder,
    kill: Kill,
    revocation: Revocation,
  ): Promise<Signed<Receipt> | undefined>
  /** Newest first. */
  receipts(): Promise<readonly Signed<Receipt>[]>
  /** That of the key which signs receipts: 32 bytes in Base64. */
  publicKey(): Promise<string>
  drill(order: DrillOrder): Promise<Drill>
  restore(order: RestoreOrder): Promise<RestoreOutcome>
  approve(by: { readonly id: string; readonly operator: string }): Promise<RestoreOutcome>
  withdraw(by: {
    readonly id: string
    readonly operator: string
    readonly reason: string
  }): Promise<void>
  /** @param recentEvents how many of the newest to give */
  status(recentEvents: number): Promise<ControlStatus>
  startDeadMan(order: DeadManOrder & { readonly ttlMs: number }): Promise<DeadManSwitch>
  renewDeadMan(order: DeadManOrder & { readonly ttlMs?: number }): Promise<DeadManSwitch>
  closeDeadMan(order: DeadManOrder): Promise<DeadManSwitch>
  endDeadMan(order: DeadManOrder): Promise<void>
  /** @returns the epoch that all servers go on from */
  acceptEpoch(by: { readonly operator: string; readonly reason: string }): Promise<number>
  close(): Promise<void>
}

/** On a store that is open already; `close` closes it. */
export function createControl(store: Store, config: Config): Control {
  const policy = config.control.restore
  return {
    store,
    kill: (order) => kill(store, clock, order),
    doubt: (scope) => findDoubt(store, scope),
    wait: (one) => waitForRevocation(store, clock, one),
    async receipt(order, one, revocation) {
      const statement = toReceipt(store.id, order, one, revocation, clock.now())
      if (statement === undefined) return undefined
      const signed = (await openSigner(store)).sign(statement)
      await recordReceipt(store, clock, signed)
      return signed
    },
    receipts: () => listReceipts(store),
    publicKey: async () => (await openSigner(store)).publicKey,
    drill: (order) => drill(store, clock, order),
    restore: (order) => restore(store, clock, policy, order),
    approve: (by) => approveRestore(store, clock, policy, by),
    withdraw: (by) => withdrawRestore(store, clock, by),
    status: (recentEvents) => loadStatus(store, recentEvents),
    startDeadMan: (order) => startDeadManSwitch(store, clock, order),
    renewDeadMan: (order) => renewDeadManSwitch(store, clock, order),
    closeDeadMan: (order) => closeDeadManSwitch(store, clock, order),
    endDeadMan: (order) => endDeadManSwitch(store, clock, order),
    acceptEpoch: (by) => acceptEpoch(store, clock, by),
    close: () => store.close(),
  }
}
