/** Tests what an instance reports if someone has written something else into the store's epoch. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createChangeReader } from '../../src/killswitch/instance/change-reader.ts'
import { openHighWater } from '../../src/killswitch/instance/high-water.ts'
import { register } from '../../src/killswitch/instance/instances.ts'
import { openPostgres, openSqlite } from './control-engines.ts'
import { identity } from './control-fixture.ts'

/** The heartbeat returns the epoch before anything is verified. */
const EPOCHS = ['x', '1.5', '1e300', '9e15', '-1']

for (const [name, open] of Object.entries({ SQLite: openSqlite, PostgreSQL: openPostgres })) {
  void t.test(`${name}: an epoch that no change wrote is reported as tampering`, async (t) => {
    const { store, tamper } = await open(t)
    const me = identity('a')
    await register(store, me, 0)
    const highWater = await openHighWater(undefined, store.id)
    const { read } = createChangeReader({ store, me, highWater })
    const { state } = await read(await store.database.epoch())
    await highWater.raise(state.mark)
    for (const epoch of EPOCHS) {
      await tamper(`UPDATE facts SET value = '${epoch}' WHERE name = 'epoch'`)
      const found = read(await store.database.epoch())
      await t.rejects(found, { name: 'StorageError', code: 'STORE_TAMPERED' }, epoch)
    }
  })
}
