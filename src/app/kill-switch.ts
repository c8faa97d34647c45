/** The kill switch on the control store that a configuration names, for the command line. */
// SPDX-License-Identifier: Apache-2.0
import type { Config } from '../config/config.ts'
import { systemClock as clock } from '../core/clock.ts'
import { type KillSwitch, createKillSwitch } from '../killswitch/operator/service.ts'
import { withPatience } from '../killswitch/operator/stop.ts'
import type { StorageError } from '../store/database.ts'
import { openStore } from '../store/store.ts'
import { toStoreOptions } from './store.ts'

export interface OpenOptions {
  /**
   * For a kill: how long a store that does not answer is tried, in milliseconds, and also one that others have changed
   * is opened. Default: once, and it is not.
   */
  readonly patienceMs?: number
  readonly onRetry?: (error: StorageError) => void
}

/** @throws StorageError */
export async function openKillSwitch(
  config: Config,
  { patienceMs = 0, onRetry }: OpenOptions = {},
): Promise<KillSwitch> {
  const isPatient = patienceMs > 0
  const open = async () =>
    openStore({
      ...(await toStoreOptions(config, { connections: 'one' })),
      allowsTampered: isPatient,
    })
  if (!isPatient) return createKillSwitch(await open(), config)
  const { sentinelFile } = config.control
  const patience = { clock, endsAt: clock.monotonic() + patienceMs, sentinelFile, onRetry }
  return createKillSwitch(await withPatience(open, patience), config)
}
