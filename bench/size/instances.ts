/**
 * A process with many control plane instances. Like a serving process, each has its own connections, registration,
 * poller, audits and housekeeping, but it has no listener and no keys.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { createControlledGate } from '../../src/app/gate.ts'
import { toStoreOptions } from '../../src/app/store.ts'
import type { Config } from '../../src/config/config.ts'
import { loadConfig } from '../../src/config/load.ts'
import { Cleanup } from '../../src/core/cleanup.ts'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { openHighWater } from '../../src/killswitch/instance/high-water.ts'
import { StorageError } from '../../src/store/database.ts'
import { readState } from '../../src/store/sealed-state.ts'
import { openStore, type Store } from '../../src/store/store.ts'

export interface InstancesPlan {
  readonly configFile: string
  readonly instances: number
  /** Folder for the high-water files. Each instance has its own file, as if it ran on its own host. */
  readonly folder: string
}

/**
 * The response to a `count` message. It contains the number of open instances and, for each of the other instances,
 * the reason why it is not open.
 */
export interface InstancesReport {
  readonly open: number
  readonly reasons: readonly string[]
}

/** Number of instances to start concurrently. */
const AT_A_TIME = 4
const OPEN_WITHIN_MS = 120_000

const cleanup = new Cleanup()
const gates: Awaited<ReturnType<typeof createControlledGate>>[] = []

async function start({ configFile, instances, folder }: InstancesPlan): Promise<void> {
  process.setMaxListeners(0)
  const config = await loadConfig(configFile)
  let left = instances
  const startSome = async () => {
    while (left-- > 0) await startOne()
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, startSome))

  async function startOne(): Promise<void> {
    const store = await openWithin(config)
    cleanup.add(() => store.close())
    const id = randomUUID()
    const control = { ...config.control, highWaterFile: join(folder, id) }
    // Write the high-water mark of a host that has served before, so that no other instance has to vouch for the store.
    const { epoch, tag } = await store.database.snapshot((reader) =>
      readState(reader, store.sealing),
    )
    await (await openHighWater(control.highWaterFile, store.id)).raise({ epoch, tag })
    const gate = await createControlledGate(
      {
        ...{ config: { ...config, control }, store, clock: systemClock, version: '0' },
        ...{ instanceId: id, worker: undefined, follower: undefined, logger: silentLogger },
        onChange: () => Promise.resolve(),
        cutRevoked: () => Promise.resolve(),
      },
      cleanup,
    )
    await gate.start()
    gates.push(gate)
  }
}

/**
 * Opens the store, and retries on a timeout, which can occur when hundreds of instances start on the server's own
 * processors.
 */
async function openWithin(config: Config): Promise<Store> {
  const until = performance.now() + OPEN_WITHIN_MS
  for (;;) {
    try {
      return await openStore(await toStoreOptions(config, { requiresUtf8: true }))
    } catch (error) {
      const isLate = error instanceof StorageError && error.code === 'STORE_TIMEOUT'
      if (!isLate || performance.now() > until) throw error
    }
  }
}

process.on('message', (message: InstancesPlan | 'count') => {
  if (message === 'count') {
    const stats = gates.map(({ gate }) => gate.stats())
    const reasons = stats.flatMap(({ state, reason }) =>
      state === 'open' ? [] : [reason ?? 'unknown'],
    )
    const report: InstancesReport = { open: stats.length - reasons.length, reasons }
    process.send?.(report)
  } else {
    start(message).then(
      () => process.send?.('started'),
      (error: unknown) => process.send?.({ error: String(error) }),
    )
  }
})
