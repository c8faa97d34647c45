/** Starts a poller on a store that a test can cut off or delay. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import { silentLogger } from '../../src/core/logger.ts'
import { type GateControl, createGate } from '../../src/killswitch/gate/gate.ts'
import { noLeaseGuard } from '../../src/killswitch/gate/guard/lease-guard.ts'
import { openHighWater } from '../../src/killswitch/instance/high-water.ts'
import { listInstances } from '../../src/killswitch/instance/instances.ts'
import { type PollerDeps, createPoller } from '../../src/killswitch/instance/poller.ts'
import type { Database, Reader, SqlValue } from '../../src/store/database.ts'
import type { Store } from '../../src/store/store.ts'
import type { StoreFolder } from './store.ts'

export const LEASE_MS = 2000

const toKey = (sql: string, parameters: readonly SqlValue[]) => JSON.stringify([sql, parameters])

/** Wraps a store so that its database can be cut off or delayed. */
function withFaults(store: Store) {
  const faults: { beat?: (sql: string) => Promise<void>; snapshot?: () => Promise<void> } = {}
  /** Number of queries of each read that was announced. */
  const announced: number[] = []
  /** Queries that an announced read sent although they were not announced. */
  const unexpected: string[] = []
  const database: Database = {
    nowSql: store.database.nowSql,
    transaction: (work) => store.database.transaction(work),
    epoch: () => store.database.epoch(),
    write: (sql, parameters) => store.database.write(sql, parameters),
    read: (sql, parameters) => store.database.read(sql, parameters),
    checkSchema: (reader) => store.database.checkSchema(reader),
    erase: () => store.database.erase(),
    warnings: (processes) => store.database.warnings(processes),
    close: () => store.database.close(),
    async heartbeat(sql, parameters) {
      await faults.beat?.(sql)
      return store.database.heartbeat(sql, parameters)
    },
    async snapshot(work, expected = []) {
      await faults.snapshot?.()
      if (expected.length === 0) return store.database.snapshot(work)
      const known = new Set(expected.map(({ sql, parameters }) => toKey(sql, parameters)))
      announced.push(expected.length)
      // Like the reader of an announced read, this one leaves out `pageRows`.
      const noting = (reader: Reader) =>
        work({
          query(sql, parameters = []) {
            if (!known.has(toKey(sql, parameters))) unexpected.push(sql)
            return reader.query(sql, parameters)
          },
        })
      return store.database.snapshot(noting, expected)
    },
  }
  return { store: { ...store, database }, faults, announced, unexpected }
}

export async function pollerOn(t: Test, folder: StoreFolder, over: Partial<PollerDeps> = {}) {
  const real = await folder.open()
  const { store, faults, announced, unexpected } = withFaults(real)
  const { clock } = folder
  const gate = createGate(clock, LEASE_MS)
  const said: string[] = []
  const order: string[] = []
  const poller = createPoller({
    ...{ store, clock, gate, intervalMs: 1, guard: noLeaseGuard('a test') },
    me: { id: 'me', group: 'g', host: 'h', pid: 1, worker: 0, version: '0', leaseMs: LEASE_MS },
    highWater: await openHighWater(undefined, real.id),
    cutRevoked: () => {
      order.push(`cut at ${String(gate.stats().epoch)}`)
      return Promise.resolve()
    },
    onChange: () => {
      order.push('reload')
      return Promise.resolve()
    },
    logger: { ...silentLogger, warn: (message) => said.push(message) },
    ...over,
  })
  t.teardown(() => poller.stop())
  const row = async () =>
    (await real.database.snapshot((reader) => listInstances(reader, real.sealing, []))).find(
      ({ id, isGenuine }) => id === 'me' && isGenuine,
    )
  return { real, faults, announced, unexpected, clock, gate, poller, said, order, row }
}

export function isOpen(gate: GateControl): boolean {
  return gate.stats().state === 'open'
}
