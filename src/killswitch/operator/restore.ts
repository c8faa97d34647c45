/** Lifts switches. If the policy demands it, a restore needs a delay and a second person. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { drawFromKernel } from '../../core/kernel-random.ts'
import { type Direction, type Scope, describeScope, isSameScope } from '../../core/scope.ts'
import { appendEvent } from '../../store/event-log.ts'
import type { SealedTransaction } from '../../store/sealed-transaction.ts'
import type { Store } from '../../store/store.ts'
import { type Actor, ControlError, type Switch, isSamePerson } from '../model.ts'
import { type RestoreRequest, type RestoreTarget, SwitchTable } from '../switch-table.ts'
import { pruneRequests, readDatabaseNow, withdrawRequests } from './restore-requests.ts'

export interface RestorePolicy {
  /** Number of people who must agree. If it is 2, a second person must approve. */
  readonly people: 1 | 2
  /** Milliseconds between the request and the restore. */
  readonly delayMs: number
  /** Milliseconds from the time at which a request can first be carried out until it expires. */
  readonly expiresMs: number
}

export interface RestoreOrder extends Actor {
  /** A single switch, by id, or all switches of a scope, for one direction or for both. */
  readonly target:
    { readonly id: string } | { readonly scope: Scope; readonly direction?: Direction }
  readonly reason: string
}

/** Whether the switches were lifted at once or a request was written. */
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

/** Returns the switches that an order refers to. @throws ControlError NOTHING_KILLED */
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
    hint: 'run latchkey status to see the switches in force',
  })
}

/**
 * Lifts the switches that the order refers to, or writes a request if the policy demands more.
 * @throws ControlError
 */
export async function restore(
  store: Store,
  clock: Clock,
  policy: RestorePolicy,
  order: RestoreOrder,
): Promise<RestoreOutcome> {
  return store.change(async (transaction, epoch) => {
    const table = new SwitchTable(transaction, store.sealing)
    await pruneRequests(table, { store, clock, transaction, epoch })
    const switches = findSwitches(await table.switches(), order.target)
    if (isImmediate(policy)) {
      await liftSwitches(store, clock, transaction, switches, { ...order, epoch })
      return { state: 'restored', switches, epoch }
    }
    const target = { kind: 'switches', switchIds: switches.map(({ id }) => id) } as const
    const request = await askFor(transaction, { store, clock, policy, order, epoch, target })
    return { state: 'requested', switches, request, needsApproval: policy.people === 2 }
  })
}

/** Reports whether one person may restore access at once. */
export function isImmediate({ people, delayMs }: RestorePolicy): boolean {
  return people === 1 && delayMs === 0
}

/** Writes a request that needs an approval or a delay. */
export async function askFor(
  transaction: SealedTransaction,
  about: {
    readonly store: Store
    readonly clock: Clock
    readonly policy: RestorePolicy
    readonly order: Actor & { readonly reason: string }
    readonly epoch: number
    readonly target: RestoreTarget
  },
): Promise<RestoreRequest> {
  const { store, clock, policy, order, epoch, target } = about
  const requestedAt = clock.now()
  const readyAt = requestedAt + policy.delayMs
  const request: RestoreRequest = {
    id: drawFromKernel(ID_BYTES).toString('hex'),
    target,
    reason: order.reason,
    operator: order.operator,
    identity: order.identity,
    ...{ requestedAt, readyAt, expiresAt: readyAt + policy.expiresMs, epoch },
  }
  await new SwitchTable(transaction, store.sealing).insertRequest(request)
  const detail = {
    request: request.id,
    ...target,
    reason: order.reason,
    identity: order.identity,
    readyAt: new Date(readyAt).toISOString(),
    expiresAt: new Date(request.expiresAt).toISOString(),
  }
  const { operator } = order
  const event = { at: clock.now(), epoch, kind: 'restore-requested', operator, detail }
  await appendEvent(transaction, store.sealing, event)
  return request
}

/**
 * Records the approval of a second person, and carries out the request once the policy is
 * satisfied. After the delay, anyone who may restore can carry out an approved request.
 * @throws ControlError NO_SUCH_REQUEST, REQUEST_EXPIRED, SAME_PERSON, NOT_READY
 */
export async function approveRestore(
  store: Store,
  clock: Clock,
  policy: RestorePolicy,
  { id, operator, identity }: Actor & { readonly id: string },
): Promise<RestoreOutcome> {
  return store.change(async (transaction, epoch) => {
    const table = new SwitchTable(transaction, store.sealing)
    const request = await findRequest(table, id)
    const now = clock.now()
    if (now >= request.expiresAt) throw expired(request)
    const inForce = await table.switches()
    const { target } = request
    const switches =
      target.kind === 'switches' ? inForce.filter((one) => target.switchIds.includes(one.id)) : []
    // The second person approved the store as it was before this change.
    const mine = { operator, identity, epoch: epoch - 1 }
    const approval = request.approval ?? (isSamePerson(mine, request) ? undefined : mine)
    if (policy.people === 2 && approval === undefined) {
      const message = `${request.operator} (${request.identity}) made this request, and ${operator} (${identity}) counts as the same person`
      throw new ControlError('SAME_PERSON', message, {
        hint: 'have a second person approve the request',
      })
    }
    if (now < request.readyAt) {
      if (approval === request.approval) throw notReady(request)
      const approved = { ...request, ...(approval === undefined ? {} : { approval }) }
      await table.updateRequest(approved)
      const detail = { request: id, reason: request.reason, identity, approvedEpoch: epoch - 1 }
      const event = { at: clock.now(), epoch, kind: 'restore-approved', operator, detail }
      await appendEvent(transaction, store.sealing, event)
      return { state: 'requested', switches, request: approved, needsApproval: false }
    }
    await table.deleteRequest(id)
    const by = { operator, reason: request.reason, epoch, request, approval }
    if (target.kind === 'switches') await liftSwitches(store, clock, transaction, switches, by)
    else await openKeyStore(transaction, { store, clock, request, by: { operator, epoch } })
    return { state: 'restored', switches, epoch }
  })
}

/** Carries out a request about a dead man's switch, if the switch still exists. */
async function openKeyStore(
  transaction: SealedTransaction,
  about: {
    readonly store: Store
    readonly clock: Clock
    readonly request: RestoreRequest
    readonly by: { readonly operator: string; readonly epoch: number }
  },
): Promise<void> {
  const { store, clock, request, by } = about
  const { target, reason } = request
  if (target.kind === 'switches') return
  const table = new SwitchTable(transaction, store.sealing)
  const before = await table.deadManSwitch(target.keyStore)
  if (before === undefined) return
  const now = await readDatabaseNow(store, transaction)
  if (target.kind === 'end-deadman') await table.deleteDeadManSwitch(target.keyStore)
  else {
    const { ttlMs } = target
    const times = { ttlMs, renewedAt: now, openUntil: now + ttlMs }
    await table.writeDeadManSwitch({ ...before, ...times, reason, operator: by.operator })
  }
  await appendEvent(transaction, store.sealing, {
    at: clock.now(),
    epoch: by.epoch,
    kind: target.kind === 'end-deadman' ? 'deadman-ended' : 'deadman-reopened',
    operator: by.operator,
    detail: { ...target, reason, request: request.id, requestedBy: request.operator },
  })
}

/**
 * Anyone may withdraw a request, because that restores nothing.
 * @throws ControlError NO_SUCH_REQUEST
 */
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
    const about = { store, clock, transaction, epoch }
    await withdrawRequests(table, about, { ids: [id], operator, reason })
  })
}

async function findRequest(table: SwitchTable, id: string): Promise<RestoreRequest> {
  const request = (await table.requests()).find((one) => one.id === id)
  if (request === undefined) {
    throw new ControlError('NO_SUCH_REQUEST', `there is no restore request ${id}`, {
      hint: 'run latchkey status to see the pending requests',
    })
  }
  return request
}

function expired({ id, expiresAt }: RestoreRequest): ControlError {
  const message = `the request ${id} expired at ${new Date(expiresAt).toISOString()}`
  return new ControlError('REQUEST_EXPIRED', message, { hint: 'request the restore again' })
}

function notReady({ readyAt }: RestoreRequest): ControlError {
  return new ControlError(
    'NOT_READY',
    `this restore cannot be carried out before ${new Date(readyAt).toISOString()}`,
  )
}

/** Removes the rows of the switches. The events keep the contents of the rows permanently. */
export async function liftSwitches(
  store: Store,
  clock: Clock,
  transaction: SealedTransaction,
  switches: readonly Switch[],
  by: {
    readonly operator: string
    readonly reason: string
    readonly epoch: number
    readonly request?: RestoreRequest
    readonly approval?: RestoreRequest['approval']
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
        ...(by.approval === undefined
          ? {}
          : { approvedBy: by.approval.operator, approvedEpoch: by.approval.epoch }),
      },
    })
  }
}
