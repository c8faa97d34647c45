/** Replaces the store key while instances are running, and waits for each of them. */
// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import type { Reader, Row } from '../../store/database.ts'
import { type RekeyDeps, rekeyStore } from '../../store/rekey.ts'
import { column } from '../../store/sealed-rows.ts'
import type { Store, StoreOptions } from '../../store/store.ts'
import { hasNewestKey } from '../instance/heartbeat.ts'
import { type Instance, loadInstances } from '../instance/instances.ts'
import { leaseEndMs } from './waiting-fleet.ts'

export interface RekeyOptions extends Pick<RekeyDeps, 'onStage' | 'onProgress'> {
  /** Timeout in milliseconds for the instances in each stage. */
  readonly patienceMs: number
}

const LOOK_EVERY_MS = 250
/**
 * An instance without a heartbeat for this many milliseconds has exited, or will read everything
 * again when it resumes.
 */
const LEAST_SILENCE_MS = 10_000

/** @returns the number of rows that were resealed @throws StorageError */
export function replaceStoreKey(
  store: StoreOptions,
  { patienceMs, ...progress }: RekeyOptions,
): Promise<number> {
  const { clock } = store
  const wait = (of: Store, isReady: IsReady) => waitForAll(of, clock, isReady, patienceMs)
  return rekeyStore(store, {
    ...progress,
    clock,
    waitForKey: (of) =>
      wait(of, (instance, row) => row !== undefined && hasNewestKey(of.sealing, instance, row)),
    waitForEpoch: (of, epoch) =>
      wait(of, ({ isGenuine, ackedEpoch }) => isGenuine && ackedEpoch >= epoch),
    isServed: async (of) => (await look(of)).length > 0,
  })
}

type IsReady = (instance: Instance, row: Row | undefined) => boolean

interface Sight {
  readonly instance: Instance
  readonly row: Row | undefined
}

function look({ database, sealing }: Store): Promise<readonly Sight[]> {
  return database.snapshot(async (reader: Reader) => {
    const instances = await loadInstances(reader, sealing)
    const rows = await reader.query('SELECT * FROM instances')
    return instances
      .filter(({ registeredEpoch }) => registeredEpoch >= 0)
      .map((instance) => ({ instance, row: rows.find((row) => column(row, 'id') === instance.id) }))
  })
}

/** @returns the running instances that are not ready after `patienceMs` */
async function waitForAll(
  store: Store,
  clock: Clock,
  isReady: IsReady,
  patienceMs: number,
): Promise<readonly string[]> {
  const beats = new Map<string, { readonly beat: number; readonly since: number }>()
  const endsAt = clock.monotonic() + patienceMs
  for (;;) {
    const seen = await look(store)
    const now = clock.monotonic()
    const waiting = seen.filter(({ instance, row }) => {
      const { id, beat, leaseMs } = instance
      const before = beats.get(id)
      const since = before?.beat === beat ? before.since : now
      beats.set(id, { beat, since })
      const isSilent = now - since > Math.max(LEAST_SILENCE_MS, leaseEndMs(leaseMs))
      return !isSilent && !isReady(instance, row)
    })
    if (waiting.length === 0 || now >= endsAt) {
      return waiting.map(({ instance: { host, pid } }) => `${host} (process ${String(pid)})`)
    }
    await pause(LOOK_EVERY_MS)
  }
}
