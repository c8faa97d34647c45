/** Waits after a kill until no instance answers what it blocks, even if others write to the store. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import { type Reader, StorageError } from '../../store/database.ts'
import { readMark } from '../../store/epochs.ts'
import { readFact } from '../../store/facts.ts'
import { column, loadTable } from '../../store/sealed-rows.ts'
import { REGISTRATIONS, SWITCHES } from '../../store/sealed-tables.ts'
import { readState, type SealedState, type TableSum } from '../../store/sealed-state.ts'
import type { Store } from '../../store/store.ts'
import { dismissInstances, listInstances } from '../instance/instances.ts'
import { ControlError } from '../model.ts'
import { type PendingKill, type Revocation, type Sight, WaitingFleet } from './waiting-fleet.ts'

export interface WaitDeps {
  readonly store: Store
  readonly clock: Clock
  /**
   * Lease from the configuration, which bounds how long an instance that the store does not list
   * can still answer.
   */
  readonly leaseMs: number
}

const LOOK_EVERY_MS = 20
/** A store that is slow to list the instances must not delay the end of the leases. */
const LOOK_PATIENCE_MS = 100
/** How long to wait for a store that wrote the switch and then stopped answering. */
const UNKNOWN_FLEET_MS = 60_000
/**
 * Resolves when no instance can answer what the kill blocks: each has acknowledged its epoch, or
 * can no longer hold a lease. In addition, at least one instance that has acknowledged it must have
 * held its lease long enough to have noticed an older copy of the store; otherwise a whole lease is
 * waited for. Leases end even if the store does not answer in the meantime.
 * @param endsAt monotonic milliseconds at which the caller gives up
 * @throws ControlError NOT_REVOKED if the caller gives up, the store never lists the instances, or
 * others changed it; RESTORED_MEANWHILE
 */
export async function waitForRevocation(
  { store, clock, leaseMs }: WaitDeps,
  kill: PendingKill,
  endsAt = Infinity,
): Promise<Revocation> {
  const fleet = new WaitingFleet(kill, leaseMs)
  const look = createLook(store, kill)
  let looking: ReturnType<typeof look> | undefined
  let isAnswered = false
  for (;;) {
    looking ??= look()
    const seen = await withinPatience(looking)
    if (seen !== 'PENDING') looking = undefined
    const found = seen === 'PENDING' ? undefined : seen
    isAnswered = found !== undefined
    if (found === 'LIFTED') {
      // Earlier acknowledgements say nothing about the present, even if an identical switch was
      // made again.
      throw new ControlError('RESTORED_MEANWHILE', 'the switch was lifted during the wait', {
        hint: 'latchkey status shows who lifted it; kill again if that was a mistake',
      })
    }
    const now = clock.monotonic()
    if (found === 'REPLACED' || (found !== undefined && fleet.contradicts(found))) {
      throw notRevoked(
        'the store was changed from outside during the wait, which can hide the switch from instances',
        'block each host with its sentinel file, then find out who can write to the database',
      )
    }
    fleet.take(found, now)
    if (fleet.isDone(now)) break
    if (!fleet.isKnown && now - kill.committedAt > UNKNOWN_FLEET_MS) {
      throw notRevoked(
        'the store did not list the instances',
        'run the same command again, or block each host with its sentinel file',
      )
    }
    if (now >= endsAt) {
      throw notRevoked(
        `${fleet.describeWaiting()} in time`,
        'run the same command again to continue waiting, or block each host with its sentinel file',
      )
    }
    await pause(LOOK_EVERY_MS)
  }
  const elapsedMs = clock.monotonic() - kill.startedAt
  // The kills after this one need not wait for instances that are dead.
  if (isAnswered) {
    await dismissInstances(store, fleet.findDead(clock.monotonic())).catch(() => undefined)
  }
  return { isComplete: true, epoch: kill.epoch, instances: fleet.outcomes, elapsedMs }
}

function notRevoked(found: string, hint: string): ControlError {
  return new ControlError('NOT_REVOKED', `the switch is written, but ${found}`, { hint })
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

/**
 * Returns a function that reads one snapshot of the store; it yields undefined when the store does
 * not answer, LIFTED when the switch is no longer in force, and REPLACED when the store does not
 * continue the one in which the kill was written.
 */
function createLook(
  store: Store,
  kill: PendingKill,
): () => Promise<Sight | 'LIFTED' | 'REPLACED' | undefined> {
  const { sealing } = store
  /** Ids in a table, read again when the sum over its rows has changed. */
  const known = new Map<string, { readonly sum: TableSum | undefined; ids: ReadonlySet<string> }>()

  async function idsOf(reader: Reader, table: typeof SWITCHES, state: SealedState) {
    const sum = state.tables.get(table.name)
    const before = known.get(table.name)
    if (before !== undefined && before.sum?.sum === sum?.sum && before.sum?.rows === sum?.rows) {
      return before.ids
    }
    const rows = await loadTable(reader, sealing, table, state)
    const ids = new Set(rows.map((row) => String(column(row, 'id'))))
    known.set(table.name, { sum, ids })
    return ids
  }

  async function sight(reader: Reader, epoch: number, registered: Sight['registered']) {
    const instances = await listInstances(reader, sealing, [])
    const acknowledged = new Set<string>()
    /** Tags by epoch in this snapshot; many instances have acknowledged the same epoch. */
    const tags = new Map<number, string>()
    for (const { id, isGenuine, ackedEpoch, ackedTag } of instances) {
      if (!isGenuine || ackedEpoch < kill.epoch || ackedEpoch > epoch) continue
      let tag = tags.get(ackedEpoch)
      if (tag === undefined) {
        tag = (await readMark(reader, sealing, ackedEpoch)).tag
        tags.set(ackedEpoch, tag)
      }
      if (tag === ackedTag) acknowledged.add(id)
    }
    return { instances, acknowledged, registered }
  }

  async function read(reader: Reader): Promise<Sight | 'LIFTED' | 'REPLACED'> {
    const isMarked = async (epoch: number) =>
      epoch >= kill.epoch && (await readMark(reader, sealing, kill.epoch)).tag === kill.tag
    if (kill.registered === undefined) {
      // If the store was changed from outside, only what the kill wrote can be trusted.
      const epoch = Number(await readFact(reader, 'epoch'))
      return (await isMarked(epoch)) ? sight(reader, epoch, undefined) : 'REPLACED'
    }
    const state = await readState(reader, sealing)
    if (!(await isMarked(state.epoch))) return 'REPLACED'
    if (kill.switch !== undefined && !(await idsOf(reader, SWITCHES, state)).has(kill.switch.id)) {
      return 'LIFTED'
    }
    return sight(reader, state.epoch, await idsOf(reader, REGISTRATIONS, state))
  }

  return () =>
    store.database.snapshot(read).catch((error: unknown) => {
      const isTampered = error instanceof StorageError && error.code === 'STORE_TAMPERED'
      return isTampered ? ('REPLACED' as const) : undefined
    })
}
