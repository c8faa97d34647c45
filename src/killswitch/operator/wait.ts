/**
 * Waits after a kill until no instance grants a request that the kill blocks, even if an attacker
 * tampers with the store.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import { type ExpectedQuery, type Reader, StorageError } from '../../store/database.ts'
import { type EpochMark, expectHistory, readHistory, readMark } from '../../store/epochs.ts'
import { readFact } from '../../store/facts.ts'
import { column, loadTable } from '../../store/sealed-rows.ts'
import { REGISTRATIONS, SWITCHES } from '../../store/sealed-tables.ts'
import {
  readState,
  type SealedState,
  STATE_RECORDS,
  type TableSum,
} from '../../store/sealed-state.ts'
import type { Store } from '../../store/store.ts'
import { dismissInstances } from '../instance/dismissal.ts'
import { createInstanceList, INSTANCE_ROWS } from '../instance/instances.ts'
import { ControlError } from '../model.ts'
import { type PendingKill, type Revocation, type Sight, WaitingFleet } from './waiting-fleet.ts'

export interface WaitDeps {
  readonly store: Store
  readonly clock: Clock
  /**
   * Lease from the configuration, which bounds how long an instance that the store does not list
   * can still respond.
   */
  readonly leaseMs: number
}

const LOOK_EVERY_MS = 20
/**
 * Maximum time to wait for the store to list the instances. Even if the store is slow, the
 * instances' leases must expire on time.
 */
const LOOK_PATIENCE_MS = 100
/** Timeout for a store that wrote the switch and then stopped responding. */
const UNKNOWN_FLEET_MS = 60_000
/**
 * Resolves when no instance can grant a request that the kill blocks: each has acknowledged the
 * kill's epoch, or can no longer hold a lease. In addition, at least one instance that has
 * acknowledged the epoch must have held its lease long enough to have noticed an older copy of the
 * store; otherwise the call waits for a whole lease. Leases expire even if the store does not
 * respond in the meantime.
 * @param endsAt monotonic time in milliseconds at which the caller gives up
 * @throws ControlError NOT_REVOKED if the caller gives up, or if the store never lists the
 * instances or was changed from outside; RESTORED_MEANWHILE
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
      // Earlier acknowledgements say nothing about the present, even if an identical switch has
      // been created since.
      throw new ControlError('RESTORED_MEANWHILE', 'the switch was lifted during the wait', {
        hint: 'run latchkey status to see who lifted it; kill again if that was a mistake',
      })
    }
    const now = clock.monotonic()
    if (found === 'REPLACED' || (found !== undefined && fleet.contradicts(found))) {
      throw notRevoked(
        'the store was changed outside of Latchkey during the wait, which can hide the switch from instances',
        'block each host with its sentinel file, then find out who can write to the database',
      )
    }
    fleet.take(found, now)
    if (fleet.isDone(now)) break
    if (!fleet.isKnown && now - kill.committedAt > UNKNOWN_FLEET_MS) {
      throw notRevoked(
        'the list of instances could not be read from the store',
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
  // Dismisses dead instances, so that later kills need not wait for them.
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
    // The timer is cleared as soon as the store responds.
    timer = setTimeout(resolve, LOOK_PATIENCE_MS, 'PENDING')
  })
  return Promise.race([work, patience]).finally(() => {
    clearTimeout(timer)
  })
}

/**
 * Returns a function that reads one snapshot of the store. The function yields undefined if the
 * store does not respond, LIFTED if the switch is no longer in force, and REPLACED if the store
 * does not continue the history in which the kill was written.
 */
function createLook(
  store: Store,
  kill: PendingKill,
): () => Promise<Sight | 'LIFTED' | 'REPLACED' | undefined> {
  const { sealing } = store
  /**
   * Ids in each table, by table name. They are read again when the sum over the table's rows has
   * changed.
   */
  const known = new Map<string, { readonly sum: TableSum | undefined; ids: ReadonlySet<string> }>()
  const listInstances = createInstanceList(sealing)
  let hasUnverified = false
  /** The store's epoch in the last snapshot. */
  let lastEpoch = kill.epoch

  /** Returns the queries of a look at a store that has not changed since the last one. */
  function expectNoChange(): readonly ExpectedQuery[] {
    // The first look reads whole tables.
    if (known.size === 0) return []
    return [STATE_RECORDS, expectHistory(kill.epoch, lastEpoch), INSTANCE_ROWS]
  }

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

  async function sight(
    reader: Reader,
    history: ReadonlyMap<number, string>,
    registered: Sight['registered'],
  ) {
    const instances = await listInstances(reader)
    // During `store rekey`, instances may sign with a key that this handle has not loaded yet.
    hasUnverified = instances.some(({ isGenuine }) => !isGenuine)
    const acknowledged = new Set<string>()
    for (const { id, isGenuine, ackedEpoch, ackedTag } of instances) {
      if (isGenuine && history.get(ackedEpoch) === ackedTag) acknowledged.add(id)
    }
    return { instances, acknowledged, registered }
  }

  /**
   * Returns the tags of all epochs from the kill's to `current`, by epoch; undefined if the history
   * that ends with `current` does not contain the kill.
   */
  async function historySinceKill(reader: Reader, current: EpochMark) {
    const tags = new Map<number, string>()
    for await (const { epoch, tag } of readHistory(reader, sealing, current, kill.epoch)) {
      tags.set(epoch, tag)
    }
    return tags.get(kill.epoch) === kill.tag ? tags : undefined
  }

  async function read(reader: Reader): Promise<Sight | 'LIFTED' | 'REPLACED'> {
    if (kill.registered === undefined) {
      // If the store was changed from outside, only what the kill wrote can be trusted.
      const epoch = Number(await readFact(reader, 'epoch'))
      const history = await historySinceKill(reader, await readMark(reader, sealing, epoch))
      return history === undefined ? 'REPLACED' : sight(reader, history, undefined)
    }
    const state = await readState(reader, sealing)
    lastEpoch = state.epoch
    const history = await historySinceKill(reader, state)
    if (history === undefined) return 'REPLACED'
    if (kill.switch !== undefined && !(await idsOf(reader, SWITCHES, state)).has(kill.switch.id)) {
      return 'LIFTED'
    }
    return sight(reader, history, await idsOf(reader, REGISTRATIONS, state))
  }

  return async () => {
    const seen = await store.database.snapshot(read, expectNoChange()).catch((error: unknown) => {
      const isTampered = error instanceof StorageError && error.code === 'STORE_TAMPERED'
      return isTampered ? ('REPLACED' as const) : undefined
    })
    // The load is not awaited, because leases end on time even if the master key's token is slow.
    if (hasUnverified) void store.loadNextKey().catch(() => undefined)
    return seen
  }
}
