/** Records usage in a workspace's store, as a server would. */
// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path'
import { loadConfig } from '../../src/config/load.ts'
import { systemClock } from '../../src/core/clock.ts'
import { openStore } from '../../src/store/store.ts'
import { writeCounts } from '../../src/usage/usage-table.ts'
import type { Workspace } from './cli.ts'

/** Records four successful Decrypt requests by a principal for `key-1`, at the current time. */
export async function recordUsage(
  space: Workspace,
  principal: string,
  keyStore = 'demo',
): Promise<void> {
  const { store: place } = await loadConfig(space.configFile, {})
  const store = await openStore({
    ...place,
    masterKey: { kind: 'file', path: join(space.folder, 'master.key') },
    clock: systemClock,
  })
  const now = systemClock.now()
  const subject = {
    ...{ keyStore, operation: 'Decrypt', keyId: 'key-1', kmsOperation: 'Decrypt', principal },
    ...{ kmsKeyArn: 'arn:aws:kms:eu-west-1:111122223333:key/1', outcome: 'ok', isOverflow: false },
  }
  await writeCounts(store.database, [
    { subject, minute: now - (now % 60_000), requests: 4, firstAt: now, lastAt: now },
  ])
  await store.close()
}
