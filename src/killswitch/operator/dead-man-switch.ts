/** A dead man's switch keeps a key store open only while its owner keeps renewing it. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { appendEvent } from '../../store/event-log.ts'
import type { Store } from '../../store/store.ts'
import { type Actor, ControlError, type DeadManSwitch } from '../model.ts'
import { type RestoreRequest, type RestoreTarget, SwitchTable } from '../switch-table.ts'
import { type Change, readDatabaseNow, withdrawForClosing } from './restore-requests.ts'
import { type RestorePolicy, askFor, isImmediate } from './restore.ts'

export interface DeadManOrder extends Actor {
  readonly keyStore: string
  readonly reason: string
  /**
   * Whether the caller may restore access. Reopening a key store, extending its switch and ending
   * the switch need the same permission as a restore.
   */
  readonly mayRestore: boolean
}

export type DeadManOutcome =
  /** `deadManSwitch` is absent once the switch has been turned off. */
  | { readonly state: 'written'; readonly deadManSwitch?: DeadManSwitch }
  | {
      readonly state: 'requested'
      readonly request: RestoreRequest
      readonly needsApproval: boolean
    }

export interface DeadManDeps {
  readonly store: Store
  readonly clock: Clock
  readonly policy: RestorePolicy
}

/**
 * Opens the key store for `ttlMs`, counted from now and again from each renewal.
 * @throws ControlError
 */
export function startDeadManSwitch(
  deps: DeadManDeps,
  order: DeadManOrder & { readonly ttlMs: number },
): Promise<DeadManOutcome> {
  return open(deps, order, { kind: 'deadman-started', ttlMs: () => order.ttlMs })
}

/**
 * @param order.ttlMs replaces the previous duration
 * @throws ControlError NOTHING_KILLED when there is no such switch
 */
export function renewDeadManSwitch(
  deps: DeadManDeps,
  order: DeadManOrder & { readonly ttlMs?: number },
): Promise<DeadManOutcome> {
  const ttlMs = (before: DeadManSwitch | undefined) => {
    if (before === undefined) throw noSwitch(order.keyStore)
    return order.ttlMs ?? before.ttlMs
  }
  return open(deps, order, { kind: 'deadman-renewed', ttlMs })
}

/** Closes the key store now, until it is reopened. @throws ControlError NOTHING_KILLED */
export function closeDeadManSwitch(
  { store, clock }: DeadManDeps,
  order: Omit<DeadManOrder, 'mayRestore'>,
): Promise<DeadManOutcome> {
  return store.change(async (transaction, epoch) => {
    const table = new SwitchTable(transaction, store.sealing)
    const before = await table.deadManSwitch(order.keyStore)
    if (before === undefined) throw noSwitch(order.keyStore)
    const now = await readDatabaseNow(store, transaction)
    const change = { store, clock, transaction, epoch }
    await withdrawForClosing(table, change, order)
    const times = { ttlMs: before.ttlMs, renewedAt: now, openUntil: now }
    return write(table, change, { order, kind: 'deadman-closed', times })
  })
}

/**
 * Ends the switch: the key store no longer needs renewals.
 * @throws ControlError NOTHING_KILLED, RESTORE_NEEDED
 */
export function endDeadManSwitch(
  { store, clock, policy }: DeadManDeps,
  order: DeadManOrder,
): Promise<DeadManOutcome> {
  const { keyStore, reason, operator } = order
  return store.change(async (transaction, epoch) => {
    const table = new SwitchTable(transaction, store.sealing)
    if ((await table.deadManSwitch(keyStore)) === undefined) throw noSwitch(keyStore)
    if (!order.mayRestore) throw restoreNeeded(`ending the dead man's switch of ${keyStore}`)
    if (!isImmediate(policy)) {
      const target = { kind: 'end-deadman', keyStore } as const
      return ask({ store, clock, transaction, epoch }, policy, { order, target })
    }
    await table.deleteDeadManSwitch(keyStore)
    const detail = { keyStore, reason }
    const event = { at: clock.now(), epoch, kind: 'deadman-ended', operator, detail }
    await appendEvent(transaction, store.sealing, event)
    return { state: 'written' }
  })
}

function open(
  { store, clock, policy }: DeadManDeps,
  order: DeadManOrder,
  how: {
    readonly kind: string
    readonly ttlMs: (before: DeadManSwitch | undefined) => number
  },
): Promise<DeadManOutcome> {
  const { keyStore } = order
  return store.change(async (transaction, epoch) => {
    const table = new SwitchTable(transaction, store.sealing)
    const before = await table.deadManSwitch(keyStore)
    const ttlMs = how.ttlMs(before)
    const now = await readDatabaseNow(store, transaction)
    const change = { store, clock, transaction, epoch }
    // A command that opens a key store under fewer conditions than before counts as a restore.
    const isClosed = before !== undefined && before.openUntil <= now
    if (before !== undefined && (isClosed || ttlMs > before.ttlMs)) {
      const what = isClosed
        ? `reopening ${keyStore}`
        : `extending the renewal period of ${keyStore}`
      if (!order.mayRestore) throw restoreNeeded(what)
      const target = { kind: 'reopen', keyStore, ttlMs } as const
      if (!isImmediate(policy)) return ask(change, policy, { order, target })
    }
    const times = { ttlMs, renewedAt: now, openUntil: now + ttlMs }
    const kind = isClosed ? 'deadman-reopened' : how.kind
    return write(table, change, { order, kind, times })
  })
}

async function ask(
  change: Change,
  policy: RestorePolicy,
  { order, target }: { readonly order: DeadManOrder; readonly target: RestoreTarget },
): Promise<DeadManOutcome> {
  const request = await askFor(change.transaction, { ...change, policy, order, target })
  return { state: 'requested', request, needsApproval: policy.people === 2 }
}

async function write(
  table: SwitchTable,
  { store, clock, transaction, epoch }: Change,
  what: {
    readonly order: Omit<DeadManOrder, 'mayRestore'>
    readonly kind: string
    readonly times: Pick<DeadManSwitch, 'ttlMs' | 'renewedAt' | 'openUntil'>
  },
): Promise<DeadManOutcome> {
  const { keyStore, reason, operator } = what.order
  const deadManSwitch: DeadManSwitch = { keyStore, ...what.times, reason, operator }
  await table.writeDeadManSwitch(deadManSwitch)
  const openUntil = new Date(deadManSwitch.openUntil).toISOString()
  const detail = { keyStore, reason, openUntil }
  const event = { at: clock.now(), epoch, kind: what.kind, operator, detail }
  await appendEvent(transaction, store.sealing, event)
  return { state: 'written', deadManSwitch }
}

function noSwitch(keyStore: string): ControlError {
  return new ControlError('NOTHING_KILLED', `the key store ${keyStore} has no dead man's switch`, {
    hint: "run latchkey deadman start to create a dead man's switch",
  })
}

function restoreNeeded(what: string): ControlError {
  return new ControlError('RESTORE_NEEDED', `${what} requires the same permission as a restore`, {
    hint: 'pass --yes to the command, or call the admin listener with the role admin',
  })
}
