/** What the routes do, as functions that compose-admin.ts hands over. */
// SPDX-License-Identifier: Apache-2.0
import type { Drill } from '../control/drill.ts'
import type { Receipt } from '../control/receipt.ts'
import type { RestoreOrder, RestoreOutcome } from '../control/restore.ts'
import type { KillOrder, Kill, Revocation } from '../control/revoke.ts'
import type { Signed } from '../control/signature.ts'
import type { ControlStatus } from '../control/status.ts'
import type { LeasedAccess } from '../control/switches.ts'

export interface Stopped {
  readonly kill: Kill
  /** Absent when nobody was to wait. */
  readonly revocation?: Revocation
  readonly receipt?: Signed<Receipt>
}

export interface LeaseAct {
  readonly keyStore: string
  readonly reason: string
  readonly operator: string
}

/** Each rejects with ControlError or StorageError. */
export interface ControlServices {
  status(): Promise<ControlStatus>
  stop(order: KillOrder, wait: boolean): Promise<Stopped>
  restore(order: RestoreOrder): Promise<RestoreOutcome>
  approve(act: { readonly id: string; readonly operator: string }): Promise<RestoreOutcome>
  withdraw(act: {
    readonly id: string
    readonly operator: string
    readonly reason: string
  }): Promise<void>
  renewLease(act: LeaseAct): Promise<LeasedAccess>
  closeLease(act: LeaseAct): Promise<LeasedAccess>
  /** Newest first. */
  receipts(): Promise<readonly Signed<Receipt>[]>
  receipt(id: string): Promise<Signed<Receipt> | undefined>
  /** In the first key store. */
  drill(operator: string): Promise<Drill>
}
