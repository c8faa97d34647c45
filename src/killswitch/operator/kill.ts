/** The operator's side of the kill switch: writes it, then waits until every instance refuses. */
// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto'
import type { Clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import { toAscii } from '../../core/remark.ts'
import { type Direction, type Scope, describeScope, isSameScope } from '../../core/scope.ts'
import { StorageError } from '../../store/database.ts'
import { appendEvent } from '../../store/event-log.ts'
import type { SealedTransaction } from '../../store/sealed-transaction.ts'
import type { Store } from '../../store/store.ts'
import { type Instance, listInstances, removeInstance } from '../instance/instances.ts'
import { ControlError, type Switch } from '../model.ts'
import { SwitchTable } from '../switch-table.ts'
import { pruneRequests, withdrawForKill } from './restore-requests.ts'

export interface KillOrder {
  readonly scope: Scope
  readonly direction: Direction
  readonly reason: string
  readonly operator: string
  /** Wall time, milliseconds since the Unix epoch. */
  readonly until?: number
}

/** A written kill, with what a caller needs to wait for it. */
export interface Kill {
  /** Undefined when the store was changed from outside; everything is refused then. */
  readonly switch: Switch | undefined
  /** False when such a switch already existed; it stays unchanged. */
  readonly isNew: boolean
  /** An instance that has acknowledged this epoch refuses what the switch blocks. */
  readonly epoch: number
  /** Instances registered at the write. One that registers later reads the switch first. */
  readonly registered?: readonly Instance[]
  /** Monotonic milliseconds, taken when the commit was confirmed. */
  readonly committedAt: number
  /** Monotonic milliseconds, taken before anything was written. */
  readonly startedAt: number
}

export interface InstanceOutcome {
  readonly id: string
  readonly group: string
  readonly host: string
  readonly pid: number
  readonly worker: number
  /** `waiting` occurs only when the caller did not wait, or the wait ended early. */
  readonly how: 'acknowledged' | 'lease-ended' | 'left' | 'waiting'
  /** Milliseconds from the start of the kill until this was known. */
  readonly afterMs: number
  /** Wall time of the instance's last answer with data in it, as last reported. */
  readonly lastSuccessAt: number | null
  /** Requests between the two checks, as last reported. */
  readonly inFlight: number
}

export interface Revocation {
  readonly isComplete: boolean
  readonly epoch: number
  readonly instances: readonly InstanceOutcome[]
  /** Milliseconds from the start of the kill. */
  readonly elapsedMs: number
}

const ID_BYTES = 6
const LOOK_EVERY_MS = 20
/** A store that takes longer to list the instances must not hold up the end of the leases. */
const LOOK_PATIENCE_MS = 100
/** The clocks of two machines differ in rate by far less than this. */
const RATE_MARGIN = 0.01
/**
 * Longer than the grace of lease-guard.ts, which cuts what a suspended process had released under
 * its lease. It is also the time KMS waits for an answer (XKS 1.0.3, Encrypt, Decrypt): without the
 * guard, an answer that leaves when the process resumes after this reaches a call that has already
 * failed.
 */
const MARGIN_MS = 250

/**
 * Returns the milliseconds after a commit at which an instance that has not seen it refuses
 * everything: its lease, which counts from before it asked and so from before the commit, plus a
 * margin for clock differences.
 */
export function leaseEndMs(leaseMs: number): number {
  return leaseMs * (1 + RATE_MARGIN) + MARGIN_MS
}

/**
 * Writes one durable transaction.
 * @throws StorageError; it is then unknown whether the switch was written
 */
export async function kill(store: Store, clock: Clock, order: KillOrder): Promise<Kill> {
  const startedAt = clock.monotonic()
  try {
    const done = await store.change((transaction, epoch) => write(transaction, epoch))
    return { ...done, committedAt: clock.monotonic(), startedAt }
  } catch (error) {
    const { reason, operator } = order
    const ascii = { reason: toAscii(reason), operator: toAscii(operator) }
    const isAscii = ascii.reason === reason && ascii.operator === operator
    if (error instanceof StorageError && error.code === 'TEXT_REFUSED' && !isAscii) {
      return kill(store, clock, { ...order, ...ascii })
    }
    if (!(error instanceof StorageError && error.code === 'STORE_TAMPERED')) throw error
    // Nothing can be added to such a store, but a raised epoch makes every instance read it and
    // refuse.
    const epoch = await store.bumpEpoch()
    const committedAt = clock.monotonic()
    return { switch: undefined, isNew: false, epoch, committedAt, startedAt }
  }

  async function write(transaction: SealedTransaction, epoch: number) {
    const table = new SwitchTable(transaction, store.sealing)
    const same = (await table.switches()).find(
      (one) =>
        isSameScope(one.scope, order.scope) &&
        one.direction === order.direction &&
        one.until === order.until,
    )
    const { scope, direction, reason, operator, until } = order
    const made: Switch = same ?? {
      ...{ scope, direction, reason, operator },
      ...(until === undefined ? {} : { until }),
      id: randomBytes(ID_BYTES).toString('hex'),
      createdAt: clock.now(),
      epoch,
    }
    if (same === undefined) await table.insertSwitch(made)
    await appendEvent(transaction, store.sealing, {
      at: clock.now(),
      epoch,
      kind: same === undefined ? 'kill' : 'kill-again',
      operator: order.operator,
      detail: {
        switch: made.id,
        scope: describeScope(order.scope),
        direction: order.direction,
        reason: order.reason,
        ...(order.until === undefined ? {} : { until: new Date(order.until).toISOString() }),
      },
    })
    const change = { store, clock, transaction, epoch }
    await pruneRequests(table, change)
    await withdrawForKill(table, change, order)
    const registered = await listInstances(transaction)
    return { switch: made, isNew: same === undefined, epoch, registered }
  }
}

/** How long to wait for a store that wrote the switch and then stopped answering. */
const UNKNOWN_LEASES_MS = 60_000

/** The part of a kill that a wait needs. */
export type PendingKill = Pick<Kill, 'epoch' | 'committedAt' | 'startedAt'> &
  Partial<Pick<Kill, 'switch' | 'registered'>>

/**
 * Resolves when no instance answers what the kill blocks: each has acknowledged its epoch, or
 * cannot hold a lease any more. Leases end even when the store does not answer in the meantime.
 * @param endsAt monotonic milliseconds at which the caller gives up
 * @throws ControlError NOT_REVOKED when the caller gives up, or the store never lists the
 * instances; RESTORED_MEANWHILE
 */
export async function waitForRevocation(
  store: Store,
  clock: Clock,
  kill: PendingKill,
  endsAt = Infinity,
): Promise<Revocation> {
  const { registered } = kill
  const outcomes = new Map<string, InstanceOutcome>()
  const watched = new Map<string, InstanceWatch>()
  for (const one of registered ?? []) note(outcomes, one, 'waiting', 0)
  let longest = registered && Math.max(0, ...registered.map(({ leaseMs }) => leaseMs))
  let looking: ReturnType<typeof look> | undefined
  let answered = false
  for (;;) {
    // An instance that registers after the commit sees its epoch before it serves.
    looking ??= look(store, kill)
    const seen = await withinPatience(looking)
    if (seen !== 'PENDING') looking = undefined
    answered = seen !== 'PENDING' && seen !== undefined
    const instances = seen === 'PENDING' ? undefined : seen?.instances
    if (seen !== 'PENDING' && seen?.isLifted === true) {
      // Earlier acknowledgements say nothing about the present, even if an identical switch was
      // made again.
      throw new ControlError('RESTORED_MEANWHILE', 'the switch was lifted during the wait', {
        hint: 'latchkey status shows who lifted it; kill again if that was a mistake',
      })
    }
    const now = clock.monotonic()
    const hasEnded = (leaseMs: number) => now - kill.committedAt > leaseEndMs(leaseMs)
    for (const one of instances ?? []) {
      longest = Math.max(longest ?? 0, one.leaseMs)
      if (watched.get(one.id)?.beat !== one.beat) {
        watched.set(one.id, { beat: one.beat, since: now, leaseMs: one.leaseMs })
      }
      if (!isWaiting(outcomes.get(one.id))) continue
      const ended = hasEnded(one.leaseMs) ? 'lease-ended' : 'waiting'
      note(
        outcomes,
        one,
        one.ackedEpoch >= kill.epoch ? 'acknowledged' : ended,
        now - kill.startedAt,
      )
    }
    if (instances !== undefined) longest ??= 0
    const present = new Set(instances?.map(({ id }) => id))
    for (const one of [...outcomes.values()].filter(isWaiting)) {
      // The instance stopped, or another process removed it after watching it through a whole
      // lease.
      if (instances !== undefined && !present.has(one.id)) {
        note(outcomes, one, 'left', now - kill.startedAt)
      } else if (hasEnded(longest ?? Infinity)) {
        note(outcomes, one, 'lease-ended', now - kill.startedAt)
      }
    }
    if (longest !== undefined && ![...outcomes.values()].some(isWaiting)) break
    if (longest === undefined && now - kill.committedAt > UNKNOWN_LEASES_MS) {
      throw new ControlError('NOT_REVOKED', 'the store did not list the instances', {
        hint: 'the switch is written; run the same command again, or block each host with its sentinel file',
      })
    }
    if (now >= endsAt) {
      const waiting = [...outcomes.values()].filter(isWaiting).length
      const found =
        longest === undefined
          ? 'the store did not list the instances'
          : `${String(waiting)} of ${String(outcomes.size)} instances have not acknowledged it`
      throw new ControlError('NOT_REVOKED', `the switch is written, but ${found} in time`, {
        hint: 'run the same command again to go on waiting, or block each host with its sentinel file',
      })
    }
    await pause(LOOK_EVERY_MS)
  }
  const elapsedMs = clock.monotonic() - kill.startedAt
  if (answered) await removeDeadInstances(store, clock, watched)
  return { isComplete: true, epoch: kill.epoch, instances: [...outcomes.values()], elapsedMs }
}

function withinPatience<T>(work: Promise<T>): Promise<T | 'PENDING'> {
  let timer: NodeJS.Timeout | undefined
  const patience = new Promise<'PENDING'>((resolve) => {
    // Cleared as soon as the store answers.
    timer = setTimeout(resolve, LOOK_PATIENCE_MS, 'PENDING')
  })
  return Promise.race([work, patience]).finally(() => {
    clearTimeout(timer)
  })
}

/** Reads one snapshot of the store; undefined when it does not answer. */
function look(store: Store, { switch: made }: PendingKill) {
  return store.database
    .snapshot(async (reader) => {
      const instances = await listInstances(reader)
      if (made === undefined) return { instances, isLifted: false }
      const found = await reader.query('SELECT id FROM switches WHERE id = ?', [made.id])
      return { instances, isLifted: found.length === 0 }
    })
    .catch(() => undefined)
}

interface InstanceWatch {
  readonly beat: number
  /** Monotonic milliseconds at which this beat was first read. */
  readonly since: number
  readonly leaseMs: number
}

function isWaiting(outcome: InstanceOutcome | undefined): boolean {
  return outcome === undefined || outcome.how === 'waiting'
}

function note(
  outcomes: Map<string, InstanceOutcome>,
  one: Omit<InstanceOutcome, 'how' | 'afterMs'>,
  how: InstanceOutcome['how'],
  afterMs: number,
): void {
  const { id, group, host, pid, worker, lastSuccessAt, inFlight } = one
  outcomes.set(id, { id, group, host, pid, worker, how, afterMs, lastSuccessAt, inFlight })
}

/** The next kill need not wait for instances that were silent for longer than their lease. */
async function removeDeadInstances(
  store: Store,
  clock: Clock,
  watched: ReadonlyMap<string, InstanceWatch>,
): Promise<void> {
  for (const [id, { beat, since, leaseMs }] of watched) {
    if (clock.monotonic() - since > leaseEndMs(leaseMs)) {
      await removeInstance(store.database, id, beat).catch(() => false)
    }
  }
}
