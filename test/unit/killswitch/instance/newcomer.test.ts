/** Tests which instances a host trusts if it has no high-water mark for its store. */
// SPDX-License-Identifier: Apache-2.0
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { createNewcomer, openHighWater } from '../../../../src/killswitch/instance/high-water.ts'
import { register } from '../../../../src/killswitch/instance/instances.ts'
import { acceptEpoch } from '../../../../src/killswitch/operator/service.ts'
import { beatOf, identity, say } from '../../../contract/control-fixture.ts'
import { storeFolder } from '../../../support/store.ts'

async function setUp(t: Test) {
  const folder = await storeFolder(t)
  const store = await folder.open()
  return {
    ...{ store, clock: folder.clock, tamper: folder.tamper, path: folder.options.path },
    /** Registers an instance, and returns the function that its poller calls on each poll. */
    async join(id: string, path?: string) {
      const me = { ...identity(id), group: `group of ${id}` }
      await register(store, me, -1)
      const mayServe = createNewcomer(me, await openHighWater(path, store.id))
      return () => store.database.snapshot((reader) => mayServe(reader, store.sealing))
    },
    async markOf() {
      const { epoch } = await store.contents()
      const [row] = folder.read(`SELECT tag FROM epochs WHERE epoch = ${String(epoch)}`)
      return { epoch, tag: String(row?.['tag']) }
    },
  }
}

void t.test(
  'the first instance that ever serves from a store needs no other to vouch',
  async (t) => {
    const { join } = await setUp(t)
    t.ok(await (await join('first'))())
    t.notOk(await (await join('second'))(), 'the next one does')
  },
)

void t.test('an instance with a mark, heartbeats and an acknowledgement vouches', async (t) => {
  const { store, join, markOf } = await setUp(t)
  await join('first')
  const mayServe = await join('second')
  const mark = await markOf()
  const renewed = (beat: number, of = mark) => ({ ...beatOf(beat, of), renewedBeat: beat - 1 })
  await say(store, 'first', renewed(1))
  t.notOk(await mayServe(), 'it may have died after that beat')
  await say(store, 'first', renewed(2))
  t.notOk(await mayServe(), 'it may have renewed before the new one came')
  await say(store, 'first', { ...beatOf(3, mark), renewedBeat: 1 })
  t.notOk(await mayServe(), 'one that refuses everything acknowledges, too')
  await say(store, 'first', { ...renewed(5), highEpoch: -1 })
  t.notOk(await mayServe(), 'one without a mark vouches for nothing')
  await say(store, 'first', renewed(7, { ...mark, tag: 'of another history' }))
  t.notOk(await mayServe())
  await say(store, 'first', renewed(9, { epoch: mark.epoch - 1, tag: '' }))
  t.notOk(await mayServe(), 'it may be about to refuse')
  await say(store, 'first', renewed(11))
  t.ok(await mayServe())
})

void t.test('an instance that has seen a later epoch contradicts the store', async (t) => {
  const { store, join, markOf, tamper } = await setUp(t)
  await join('first')
  await join('second')
  const mayServe = await join('third')
  const mark = await markOf()
  const renewed = (beat: number) => ({ ...beatOf(beat, mark), renewedBeat: beat - 1 })
  for (const beat of [1, 3]) {
    await mayServe()
    await say(store, 'first', renewed(beat))
    await say(store, 'second', { ...renewed(beat), highEpoch: mark.epoch + 1 })
  }
  t.notOk(await mayServe())
  tamper("UPDATE instances SET high_epoch = 9007199254740991 WHERE id = 'second'")
  await say(store, 'first', renewed(5))
  t.ok(await mayServe(), 'a row without its authentication code does not count')
})

void t.test("a person's acceptance covers the epochs before it", async (t) => {
  const { store, clock, join } = await setUp(t)
  await join('first')
  const mayServe = await join('second')
  t.notOk(await mayServe())
  await acceptEpoch(store, clock, { operator: 'o', reason: 'r' })
  t.ok(await mayServe())
  t.notOk(await (await join('third'))(), 'who comes later is not meant')
})

void t.test('with the mark of another store, only a person can accept', async (t) => {
  const { store, clock, join: add, markOf, path: storePath } = await setUp(t)
  const path = join(dirname(storePath), 'mark')
  await (await openHighWater(path, 'another store')).raise({ epoch: 9, tag: 'x' })
  await add('first')
  const mayServe = await add('second', path)
  const mark = await markOf()
  for (const beat of [1, 3, 5]) {
    await say(store, 'first', { ...beatOf(beat, mark), renewedBeat: beat - 1 })
    t.notOk(await mayServe())
  }
  await acceptEpoch(store, clock, { operator: 'o', reason: 'r' })
  t.ok(await mayServe())
})
