/** Tests that long reads of the event log do not use the connection that kills use. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { toStoreOptions } from '../../../../src/app/store.ts'
import { loadConfig } from '../../../../src/config/load.ts'
import { createKillSwitch } from '../../../../src/killswitch/operator/service.ts'
import { openStore, type Store } from '../../../../src/store/store.ts'
import { workspace } from '../../../support/cli.ts'

void t.test('receipts are read on the handle for reports', async (t) => {
  const config = await loadConfig((await workspace(t)).configFile, {})
  const open = async () => openStore(await toStoreOptions(config))
  const own = await open()
  const busy: Store = {
    ...own,
    database: { ...own.database, snapshot: () => Promise.reject(new Error('a kill waits')) },
  }
  const killSwitch = createKillSwitch(busy, config, open)
  t.same(await killSwitch.receipts(), [])
  await t.rejects(killSwitch.findReceipt('none'), { code: 'NO_SUCH_RECEIPT' })
  await killSwitch.close()
})
