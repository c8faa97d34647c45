/** Tests that a kill verifies each instance's row once, as long as the row does not change. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import {
  createInstanceList,
  listInstances,
  register,
} from '../../../../src/killswitch/instance/instances.ts'
import type { Sealing } from '../../../../src/store/sealing.ts'
import { beatOf, identity, NOTHING_SEEN, say } from '../../../contract/control-fixture.ts'
import { storeFolder } from '../../../support/store.ts'

void t.test('only changed rows, and rows that do not verify, are verified again', async (t) => {
  const folder = await storeFolder(t)
  const store = await folder.open()
  for (const id of ['a', 'b', 'c']) await register(store, identity(id), -1)
  let verified = 0
  const sealing: Sealing = {
    ...store.sealing,
    isAuthentic(fields, mac) {
      verified += 1
      return store.sealing.isAuthentic(fields, mac)
    },
  }
  const list = createInstanceList(sealing)
  const look = async () => {
    verified = 0
    const found = await store.database.snapshot(list)
    const others = await store.database.snapshot((reader) => listInstances(reader, sealing, []))
    t.same(found, others, 'the list is complete and current')
    verified -= found.length
    return { verified, genuine: found.filter(({ isGenuine }) => isGenuine).map(({ id }) => id) }
  }
  t.same(await look(), { verified: 3, genuine: ['a', 'b', 'c'] })
  t.same(await look(), { verified: 0, genuine: ['a', 'b', 'c'] })
  await say(store, 'b', beatOf(1, NOTHING_SEEN))
  t.same(await look(), { verified: 1, genuine: ['a', 'b', 'c'] })
  t.same(await look(), { verified: 0, genuine: ['a', 'b', 'c'] })
  folder.tamper("UPDATE instances SET held_ms = held_ms + 1 WHERE id = 'b'")
  for (let round = 0; round < 2; round++) {
    t.same(await look(), { verified: 1, genuine: ['a', 'c'] }, 'a changed row is never trusted')
  }
  folder.tamper("UPDATE instances SET held_ms = held_ms - 1 WHERE id = 'b'")
  t.same((await look()).genuine, ['a', 'b', 'c'])
  folder.tamper("DELETE FROM instances WHERE id = 'a'")
  t.same(await look(), { verified: 0, genuine: ['b', 'c'] })
})
