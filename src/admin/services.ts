/** What the routes do, as functions that app/admin.ts hands over. */
// SPDX-License-Identifier: Apache-2.0
import type { Exposure } from '../usage/exposure.ts'
import type { Rehearsal } from '../usage/rehearsal.ts'
import type { Drill } from '../killswitch/operator/drill.ts'
import type { Receipt } from '../killswitch/receipt/receipt.ts'
import type { RestoreOrder, RestoreOutcome } from '../killswitch/operator/restore.ts'
import type { KillOrder, Kill, Revocation } from '../killswitch/operator/kill.ts'
import type { Signed } from '../killswitch/receipt/signature.ts'
import type { ControlStatus } from '../killswitch/operator/status.ts'
import type { LongKill } from '../killswitch/instance/long-kill.ts'
import type { Direction, DeadManSwitch, Scope } from '../killswitch/model.ts'

export interface StopResult {
  readonly kill: Kill
  /** What speaks against what was asked for; it was done all the same. */
  readonly warning?: string
  /** Absent when nobody was to wait. */
  readonly revocation?: Revocation
  readonly receipt?: Signed<Receipt>
}

export interface DeadManAct {
  readonly keyStore: string
  readonly reason: string
  readonly operator: string
}

/** Each rejects with ControlError or StorageError. */
export interface ControlServices {
  status(): Promise<ControlStatus>
  stop(order: KillOrder, wait: boolean): Promise<StopResult>
  restore(order: RestoreOrder): Promise<RestoreOutcome>
  approve(act: { readonly id: string; readonly operator: string }): Promise<RestoreOutcome>
  withdraw(act: {
    readonly id: string
    readonly operator: string
    readonly reason: string
  }): Promise<void>
  renewDeadMan(act: DeadManAct): Promise<DeadManSwitch>
  closeDeadMan(act: DeadManAct): Promise<DeadManSwitch>
  /** Newest first. */
  receipts(): Promise<readonly Signed<Receipt>[]>
  receipt(id: string): Promise<Signed<Receipt> | undefined>
  /** In the first key store. */
  drill(operator: string): Promise<Drill>
}

/** Wall times, milliseconds since the Unix epoch. */
export interface ReportWindow {
  readonly since: number
  readonly until: number
}

export interface ExposureReport extends ReportWindow {
  readonly scope: Scope
  readonly exposures: readonly Exposure[]
  readonly longKills: readonly LongKill[]
}

/** From what was counted. Each rejects with StorageError. */
export interface ReportServices {
  rehearse(
    order: { readonly scope: Scope; readonly direction: Direction },
    window: ReportWindow,
  ): Promise<Rehearsal & { readonly period: ReportWindow }>
  /** @param about a scope, or a switch that is in force; undefined: everything. @param since absent: all that is kept */
  exposure(
    about: Scope | { readonly id: string } | undefined,
    since: number | undefined,
  ): Promise<ExposureReport>
}
