/** The kill switch on the control store that a configuration names, for the command line. */
// SPDX-License-Identifier: Apache-2.0
import type { Config } from '../config/config.ts'
import { createControl, type Control } from '../killswitch/operator/service.ts'
import { openStore } from '../store/store.ts'
import { toStoreOptions } from './store.ts'

/** @throws StorageError */
export async function openControl(config: Config): Promise<Control> {
  return createControl(
    await openStore(await toStoreOptions(config, { connections: 'one' })),
    config,
  )
}
