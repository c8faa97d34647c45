/** Helpers for the kill switch contract: the interface that each engine's tests implement, and simulated heartbeats. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import { type Heartbeat, sendHeartbeat } from '../../src/killswitch/instance/heartbeat.ts'
import { loadInstances } from '../../src/killswitch/instance/instances.ts'
import type { EpochMark } from '../../src/store/epochs.ts'
import type { Store } from '../../src/store/store.ts'
import type { FakeClock } from '../support/fake-clock.ts'

export interface ControlFixture {
  readonly store: Store
  readonly clock: FakeClock
  /** Opens another handle on the store, as another host would. The handle is closed when the test ends. */
  openAgain(): Promise<Store>
  /** Changes rows behind Latchkey's back. */
  tamper(sql: string): void | Promise<void>
}

export interface ControlContract {
  readonly name: string
  /** Returns a new store, which is closed when the test `t` ends. */
  readonly open: (t: Test) => Promise<ControlFixture>
}

export const ORDER = {
  scope: { kind: 'key-store', keyStore: 'demo' },
  direction: 'both',
  reason: 'why',
  operator: 'alice',
} as const
export const EXPIRES_MS = 86_400_000
export const actor = (operator: string) => ({ operator, identity: `os:${operator}` })
export const AT_ONCE = { people: 1, delayMs: 0, expiresMs: 86_400_000 } as const

export const identity = (id: string, leaseMs = 2000) => ({
  ...{ id, group: 'g', host: 'h', pid: 1, worker: 0, version: '0', leaseMs },
})

/** Returns a heartbeat from an instance that has held its lease for a long time. */
export const beatOf = (beat: number, { epoch, tag }: EpochMark): Heartbeat => ({
  ...{ beat, ackedEpoch: epoch, ackedTag: tag, highEpoch: epoch, state: 'open', reason: null },
  ...{ lastSuccessAt: 7, inFlight: 2, renewedBeat: 0, heldMs: 3_600_000 },
})

export const NOTHING_SEEN: EpochMark = { epoch: 0, tag: '' }

/** Sends a heartbeat for the instance with this id. */
export const say = (store: Store, id: string, heart: Heartbeat, leaseMs = 2000) =>
  sendHeartbeat(store, { id, leaseMs }, heart)

export const instancesOf = (store: Store) =>
  store.database.snapshot((reader) => loadInstances(reader, store.sealing))

export const idsOf = async (store: Store) => (await instancesOf(store)).map(({ id }) => id)

/** How long a kill waits if no instance is registered, in milliseconds. */
export const LEASE_MS = 2000
