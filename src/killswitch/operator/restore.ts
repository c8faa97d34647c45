/** The careful direction: lifts switches, if the house asks for it only after a delay and with a second person. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { Clock } from '../../core/clock.ts'
import type { Transaction } from '../../store/database.ts'
import { appendEvent } from '../../store/event-log.ts'
import type { Store } from '../../store/store.ts'
import { ControlError } from '../errors.ts'
import { SwitchTable, type RestoreRequest } from '../switch-table.ts'
import { describeScope, isSameScope, type Direction, type Scope, type Switch } from '../model.ts'

export interface RestorePolicy {
  /** 2: somebody else than whoever asked must approve. */
  readonly people: 1 | 2
  /** Milliseconds between asking and lifting. */
  readonly delayMs: number
}

export interface RestoreOrder {
  /** A switch by its id, or all switches of a scope, of one direction or any. */
  readonly target:
    { readonly id: string } | { readonly scope: Scope; readonly direction?: Direction }
  readonly reason: string
  readonly operator: string
}

/** Lifted at once, or asked for. */
export type RestoreOutcome =
  | {
      readonly state: 'restored'
      readonly switches: readonly Switch[]
      readonly epoch: number
    }
  | {
      readonly state: 'requested'
      readonly switches: readonly Switch[]
      readonly request: RestoreRequest
      readonly needsApproval: boolean
    }

const ID_BYTES = 4

/** Switches that an order means. @throws ControlError NOTHING_KILLED */
export function findSwitches(
  switches: readonly Switch[],
  target: RestoreOrder['target'],
): readonly Switch[] {
  const found = switches.filter((one) =>
    'id' in target
      ? one.id === target.id
      : isSameScope(one.scope, target.scope) &&
        (target.direction === undefined || one.direction === target.direction),
  )
  if (found.length > 0) return found
  const what = 'id' in target ? target.id : describeScope(target.scope)
  throw new ControlError('NOTHING_KILLED', `no switch is in force for ${what}`, {
    hint: 'latchkey status lists them',
  })
}

/** Lifts what the order means, or writes a request where the policy wants more. @throws ControlError */
export async function restore(
  store: Store,
  clock: Clock,
  policy: RestorePolicy,
  order: RestoreOrder,
): Promise<RestoreOutcome> {
  const isImmediate = policy.people === 1 && policy.delayMs === 0
  return store.change(async (transaction, epoch) => {
    const table = new SwitchTable(transaction, store.sealing)
    const switches = findSwitches(await table.switches(), order.target)
    if (isImmediate) {
      await lift(transaction, switches, { ...order, epoch })
      return { state: 'restored', switches, epoch }
    }
    const now = clock.now()
    const request: RestoreRequest = {
      id: randomBytes(ID_BYTES).toString('hex'),
      switchIds: switches.map(({ id }) => id),
      reason: order.reason,
      operator: order.operator,
      requestedAt: now,
      readyAt: now + policy.delayMs,
    }
    await table.insertRequest(request)
    await record(transaction, epoch, 'restore-requested', order.operator, {
      request: request.id,
      switches: request.switchIds,
      reason: order.reason,
      readyAt: new Date(request.readyAt).toISOString(),
    })
    return { state: 'requested', switches, request, needsApproval: policy.people === 2 }
  })

  function lift(
    transaction: Transaction,
    switches: readonly Switch[],
    by: { readonly operator: string; readonly reason: string; readonly epoch: number },
  ) {
    return liftSwitches(store, clock, transaction, switches, by)
  }

  function record(
    transaction: Transaction,
    epoch: number,
    kind: string,
    operator: string,
    detail: Record<string, unknown>,
  ) {
    return appendEvent(transaction, store.sealing, {
      at: clock.now(),
      epoch,
      kind,
      operator,
      detail,
    })
  }
}

/**
 * The second person's part, and the carrying out once the delay is over: whoever may restore calls it,
 * and it lifts the switches when everything that the policy asks for is there.
 * @throws ControlError NO_SUCH_REQUEST, SAME_PERSON, NOT_READY
 */
export async function approveRestore(
  store: Store,
  clock: Clock,
  policy: RestorePolicy,
  { id, operator }: { readonly id: string; readonly operator: string },
): Promise<RestoreOutcome> {
  return store.change(async (transaction, epoch) => {
    const table = new SwitchTable(transaction, store.sealing)
    const request = await findRequest(table, id)
    const inForce = await table.switches()
    const switches = inForce.filter((one) => request.switchIds.includes(one.id))
    const approvedBy = request.approvedBy ?? (operator === request.operator ? undefined : operator)
    if (policy.people === 2 && approvedBy === undefined) {
      throw new ControlError(
        'SAME_PERSON',
        `${operator} asked for this: somebody else must approve`,
      )
    }
    const now = clock.now()
    const event = { at: now, epoch, operator, detail: { request: id, reason: request.reason } }
    if (now < request.readyAt) {
      if (approvedBy === request.approvedBy) throw notReady(request)
      const approved = { ...request, ...(approvedBy === undefined ? {} : { approvedBy }) }
      await table.updateRequest(approved)
      await appendEvent(transaction, store.sealing, { ...event, kind: 'restore-approved' })
      return { state: 'requested', switches, request: approved, needsApproval: false }
    }
    await table.deleteRequest(id)
    const by = { operator, reason: request.reason, epoch, request, approvedBy }
    await liftSwitches(store, clock, transaction, switches, by)
    return { state: 'restored', switches, epoch }
  })
}

/** Anyone may take a request back: nothing is restored by that. @throws ControlError NO_SUCH_REQUEST */
export async function withdrawRestore(
  store: Store,
  clock: Clock,
  {
    id,
    operator,
    reason,
  }: { readonly id: string; readonly operator: string; readonly reason: string },
): Promise<void> {
  await store.change(async (transaction, epoch) => {
    const table = new SwitchTable(transaction, store.sealing)
    await findRequest(table, id)
    await table.deleteRequest(id)
    const detail = { request: id, reason }
    const event = { at: clock.now(), epoch, kind: 'restore-withdrawn', operator, detail }
    await appendEvent(transaction, store.sealing, event)
  })
}

async function findRequest(table: SwitchTable, id: string): Promise<RestoreRequest> {
  const request = (await table.requests()).find((one) => one.id === id)
  if (request === undefined) {
    throw new ControlError('NO_SUCH_REQUEST', `no restoration was asked for under ${id}`, {
      hint: 'latchkey status lists those that wait',
    })
  }
  return request
}

function notReady({ readyAt }: RestoreRequest): ControlError {
  return new ControlError(
    'NOT_READY',
    `this restoration can be carried out from ${new Date(readyAt).toISOString()}`,
  )
}

/** Removes the rows; what they were is in the events, for ever. */
export async function liftSwitches(
  store: Store,
  clock: Clock,
  transaction: Transaction,
  switches: readonly Switch[],
  by: {
    readonly operator: string
    readonly reason: string
    readonly epoch: number
    readonly request?: RestoreRequest
    readonly approvedBy?: string | undefined
    readonly kind?: 'restore' | 'expired'
  },
): Promise<void> {
  const table = new SwitchTable(transaction, store.sealing)
  for (const one of switches) {
    await table.deleteSwitch(one.id)
    await appendEvent(transaction, store.sealing, {
      at: clock.now(),
      epoch: by.epoch,
      kind: by.kind ?? 'restore',
      operator: by.operator,
      detail: {
        switch: one.id,
        scope: describeScope(one.scope),
        direction: one.direction,
        reason: by.reason,
        ...(by.request === undefined
          ? {}
          : { request: by.request.id, requestedBy: by.request.operator }),
        ...(by.approvedBy === undefined ? {} : { approvedBy: by.approvedBy }),
      },
    })
  }
}
