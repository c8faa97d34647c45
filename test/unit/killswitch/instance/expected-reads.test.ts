/** Tests that what an instance reads again and again is expected, and so costs one message each time. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { createExpiry } from '../../../../src/killswitch/instance/expiry.ts'
import { createFleetSize } from '../../../../src/killswitch/instance/fleet-size.ts'
import { deregister, register } from '../../../../src/killswitch/instance/instances.ts'
import { kill } from '../../../../src/killswitch/operator/kill.ts'
import { createFeed } from '../../../../src/store/feed.ts'
import { SWITCHES } from '../../../../src/store/sealed-tables.ts'
import { identity, ORDER } from '../../../contract/control-fixture.ts'
import { storeFolder } from '../../../support/store.ts'
import { recordUnexpected } from '../../../support/unexpected.ts'

async function setUp(t: Test) {
  const folder = await storeFolder(t)
  const real = await folder.open()
  return { real, clock: folder.clock, ...recordUnexpected(real) }
}

void t.test('a feed expects that its tables have not changed', async (t) => {
  const { real, store, clock, take } = await setUp(t)
  const feed = createFeed(store.database.snapshot, real.sealing, [SWITCHES])
  const put: number[] = []
  const update = async () => {
    await feed.update((changes) => {
      put.push(...changes.map((one) => one.put.length))
    })
    return take()
  }
  t.same(await update(), [undefined], 'the first read is of everything')
  await register(real, identity('a'), -1)
  t.same(await update(), [[]])
  await kill(real, clock, ORDER)
  t.match(await update(), [[/FROM switches/]])
  t.same(put, [0, 1])
  feed.forget()
  t.same(await update(), [undefined])
})

void t.test('the expiry job expects no change', async (t) => {
  const { real, store, clock, take } = await setUp(t)
  const loaded: number[] = []
  const expiry = createExpiry({
    ...{ store, clock, operator: 'instance a' },
    onLoaded: ({ switches }) => loaded.push(switches.length),
  })
  const run = async () => {
    await expiry.run()
    return take()
  }
  t.same(await run(), [undefined])
  t.same(await run(), [[]])
  await kill(real, clock, ORDER)
  t.match(await run(), [[/FROM switches/]])
  t.same(await run(), [[]])
  t.same(loaded, [0, 0, 1, 1])
})

void t.test('the size of the fleet expects that instances have registered', async (t) => {
  const { real, store, clock, take } = await setUp(t)
  const fleetSize = createFleetSize(store, clock)
  const size = async () => {
    await fleetSize.take()
    return [fleetSize.fleet.instances, ...take()]
  }
  await register(real, identity('a'), -1)
  t.same(await size(), [1, undefined])
  for (const id of ['b', 'c']) await register(real, identity(id), -1)
  t.same(await size(), [3, []])
  await deregister(real, 'b')
  const [instances, snapshot] = await size()
  t.equal(instances, 2)
  t.match(snapshot, [/FROM registrations/], 'a removal leaves no record, so all are read')
})
