/**
 * A process with many instances of the control plane: each has its own connections, registration,
 * poller, audits and housekeeping, as a serving process has, but no listener and no keys.
 */
// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { createControlledGate } from '../../src/app/gate.ts'
import { toStoreOptions } from '../../src/app/store.ts'
import { loadConfig } from '../../src/config/load.ts'
import { Cleanup } from '../../src/core/cleanup.ts'
import { systemClock } from '../../src/core/clock.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { openHighWater } from '../../src/killswitch/instance/high-water.ts'
import { readState } from '../../src/store/sealed-state.ts'
import { openStore } from '../../src/store/store.ts'

export interface InstancesPlan {
  readonly configFile: string
  readonly instances: number
  /** Folder for the high-water files. Each instance gets its own, as it would on a separate host. */
  readonly folder: string
}

/** Sent after `count`: how many instances are open, and why the others are not. */
export interface InstancesReport {
  readonly open: number
  readonly reasons: readonly string[]
}

/** Number of instances that start at the same time. */
const AT_A_TIME = 4

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
    const store = await openStore(await toStoreOptions(config, { requiresUtf8: true }))
    cleanup.add(() => store.close())
    const id = randomUUID()
    const control = { ...config.control, highWaterFile: join(folder, id) }
    // Writes the mark of a host that has served before, so that no other instance has to vouch for the store.
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
