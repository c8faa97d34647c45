/** Opens the kill switch on the configured control store, for commands. */
// SPDX-License-Identifier: Apache-2.0
import type { Config } from '../config/config.ts'
import { systemClock as clock } from '../core/clock.ts'
import { type KillSwitch, createKillSwitch } from '../killswitch/operator/service.ts'
import { withPatience } from '../killswitch/operator/stop.ts'
import { readHighWater } from '../killswitch/instance/high-water.ts'
import type { LatchkeyError } from '../core/errors.ts'
import type { StorageError } from '../store/database.ts'
import { continues } from '../store/epochs.ts'
import { readState } from '../store/sealed-state.ts'
import { type Store, openStore } from '../store/store.ts'
import { toStoreOptions } from './store.ts'

export interface OpenOptions {
  /**
   * How long, in milliseconds, a kill retries if the store does not respond (default: one attempt).
   * If the value is above 0, a store that was changed outside of Latchkey is opened, not refused.
   */
  readonly patienceMs?: number
  readonly onRetry?: (error: LatchkeyError) => void
  /** Returns true for an error that is thrown at once instead of being retried. */
  readonly endsEarly?: (error: StorageError) => boolean
  /** Called before any other work if the store is older than the state that this host has seen. */
  readonly onOldStore?: (warning: string) => void
}

/** @throws StorageError */
export async function openKillSwitch(
  config: Config,
  { patienceMs = 0, onRetry, endsEarly, onOldStore }: OpenOptions = {},
): Promise<KillSwitch> {
  const isPatient = patienceMs > 0
  const open = async () =>
    openStore({
      ...(await toStoreOptions(config, { connections: 'one' })),
      allowsTampered: isPatient,
    })
  const { sentinelFile } = config.control
  const patience = {
    clock,
    endsAt: clock.monotonic() + patienceMs,
    sentinelFile,
    onRetry,
    endsEarly,
  }
  const store = isPatient ? await withPatience(open, patience) : await open()
  if (onOldStore !== undefined) await warnOfOldStore(store, config, onOldStore)
  return createKillSwitch(store, config)
}

/** Never rejects, because a failed warning must not stop the command. */
async function warnOfOldStore(
  store: Store,
  { control }: Config,
  warn: (warning: string) => void,
): Promise<void> {
  try {
    const seen = await readHighWater(control.highWaterFile, store.id)
    if (seen === undefined) return
    if (seen === 'FOREIGN') {
      warn(
        'warning: the high-water file of this host belongs to another store, so this store may be missing kills and revocations',
      )
      return
    }
    const { epoch, goesOn } = await store.database.snapshot(async (reader) => {
      const { epoch, tag } = await readState(reader, store.sealing)
      return { epoch, goesOn: await continues(reader, store.sealing, { epoch, tag }, seen) }
    })
    if (goesOn) return
    warn(
      `warning: the store is at epoch ${String(epoch)}, but its history does not match what this host has seen up to epoch ${String(seen.epoch)}; kills and revocations may be missing from the store`,
    )
  } catch {
    // Either the mark cannot be read, or the store does not respond. The command itself reports
    // what is wrong with the store.
  }
}
