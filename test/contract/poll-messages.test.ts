/** Tests that an announcement reaches PostgreSQL through all layers of a store, so that it saves messages. */
// SPDX-License-Identifier: Apache-2.0
import pg from 'pg'
import t from 'tap'
import { createChangeReader } from '../../src/killswitch/instance/change-reader.ts'
import { openHighWater } from '../../src/killswitch/instance/high-water.ts'
import { register } from '../../src/killswitch/instance/instances.ts'
import { kill } from '../../src/killswitch/operator/kill.ts'
import { CREDENTIALS, KEYS } from '../../src/store/sealed-tables.ts'
import { openPostgres } from './control-engines.ts'
import { identity, ORDER } from './control-fixture.ts'

void t.test('after a kill, an instance reads the store with one message', async (t) => {
  const { store, clock } = await openPostgres(t)
  const me = identity('a')
  await register(store, me, 0)
  const highWater = await openHighWater(undefined, store.id)
  const changes = createChangeReader({ store, me, highWater })
  const keys = store.feed(KEYS, CREDENTIALS)
  const read = async () => {
    const found = await changes.read(await store.database.epoch())
    await highWater.raise(found.state.mark)
    return found
  }
  const followKeys = () => keys.update(() => undefined)
  await read()
  await followKeys()
  const done = await kill(store, clock, ORDER)
  const epoch = await store.database.epoch()
  const sent = t.capture(pg.Client.prototype, 'query', pg.Client.prototype.query)
  const { state } = await changes.read(epoch)
  t.same(
    state.switches.map(({ id }) => id),
    [done.switch?.id],
  )
  t.equal(sent().length, 1, 'the switches and the history')
  await followKeys()
  t.equal(sent().length, 1, 'the keys and credentials')
})
