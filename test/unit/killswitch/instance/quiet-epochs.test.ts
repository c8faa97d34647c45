/**
 * Tests that an instance does not read the store when other instances register or leave, but notices every other
 * change.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { dismissInstances } from '../../../../src/killswitch/instance/dismissal.ts'
import {
  deregister,
  loadInstances,
  register,
} from '../../../../src/killswitch/instance/instances.ts'
import { kill } from '../../../../src/killswitch/operator/kill.ts'
import { type EpochMark, EPOCHS_AFTER, isQuietSince } from '../../../../src/store/epochs.ts'
import { readState } from '../../../../src/store/sealed-state.ts'
import { REGISTRATIONS } from '../../../../src/store/sealed-tables.ts'
import { identity } from '../../../contract/control-fixture.ts'
import { LEASE_MS, pollerOn } from '../../../support/poller.ts'
import { eventually } from '../../../support/server.ts'
import { storeFolder } from '../../../support/store.ts'

const ORDER = { scope: { kind: 'all' }, direction: 'both', reason: 'why', operator: 'who' } as const
/** More quiet epochs than an instance accepts at once. */
const MANY = 101

void t.test('others that register or leave make no instance read the store', async (t) => {
  const { real, faults, gate, poller, clock, row } = await pollerOn(t, await storeFolder(t))
  await poller.start()
  let reads = 0
  faults.snapshot = () => {
    reads += 1
    return Promise.resolve()
  }
  const others: string[] = []
  faults.beat = (sql) => {
    if (!sql.startsWith('UPDATE instances')) others.push(sql)
    return Promise.resolve()
  }
  for (const id of ['a', 'b', 'c']) await register(real, identity(id), -1)
  await deregister(real, 'b')
  const { epoch } = await real.contents()
  clock.advance(LEASE_MS / 2)
  await eventually(async () => (await row())?.ackedEpoch === epoch)
  await eventually(() => gate.stats().leaseLeftMs === LEASE_MS)
  t.equal(reads, 0)
  t.same(others, [], 'the heartbeat itself reads the epochs')
  t.equal(gate.stats().epoch, epoch)
  t.equal((await row())?.highEpoch, epoch, 'an older store is refused from now on')
  const killed = await kill(real, clock, ORDER)
  await register(real, identity('d'), -1)
  await eventually(async () => ((await row())?.ackedEpoch ?? 0) >= killed.epoch)
  t.equal(gate.stats().reason, 'KILLED_ALL')
  t.ok(reads > 0)
})

void t.test('an instance that others dismiss reads the store, and registers again', async (t) => {
  const { real, poller, gate } = await pollerOn(t, await storeFolder(t))
  await poller.start()
  const own = async () =>
    (await real.database.snapshot((reader) => loadInstances(reader, real.sealing))).find(
      ({ id }) => id === 'me',
    )
  const before = (await own())?.registeredEpoch ?? NaN
  await dismissInstances(real, { silent: [{ id: 'me', registeredEpoch: before }], over: [] })
  await register(real, identity('a'), -1)
  await eventually(async () => ((await own())?.registeredEpoch ?? NaN) > before + 1)
  t.equal((await own())?.isDismissed, false)
  await eventually(() => gate.stats().state === 'open')
})

void t.test('an older copy in which others register is no continuation', async (t) => {
  const folder = await storeFolder(t)
  const real = await folder.open()
  const copy = () => folder.read("SELECT * FROM facts WHERE name IN ('epoch', 'state')")
  const [epoch, state] = copy()
  const { faults, gate, poller, clock } = await pollerOn(t, folder)
  await poller.start()
  const seen = gate.stats().epoch
  const [mark] = folder.read(`SELECT tag, mac FROM epochs WHERE epoch = ${String(seen)}`)
  let go: (() => void) | undefined
  faults.beat = () => new Promise((resolve) => (go = resolve))
  await eventually(() => go !== undefined)
  // Simulates a restored copy without this instance's registration. A kill in that copy would not wait for the
  // instance.
  folder.tamper(
    `BEGIN;
     DELETE FROM registrations;
     DELETE FROM epochs;
     DELETE FROM facts WHERE name = 'first_group';
     UPDATE facts SET value = '${String(epoch?.['value'])}' WHERE name = 'epoch';
     UPDATE facts SET value = '${String(state?.['value'])}' WHERE name = 'state';
     COMMIT`,
  )
  for (const id of ['a', 'b', 'c']) await register(real, identity(id), -1)
  // A row from the real history has a valid MAC, so a valid MAC alone must not be trusted.
  folder.tamper(
    `UPDATE epochs SET tag = '${String(mark?.['tag'])}', mac = '${String(mark?.['mac'])}'
     WHERE epoch = ${String(seen)}`,
  )
  const left = gate.stats().leaseLeftMs
  clock.advance(10)
  /** Remaining time on the lease at each later heartbeat, in milliseconds. */
  const lefts: number[] = []
  faults.beat = () => {
    lefts.push(gate.stats().leaseLeftMs)
    return Promise.resolve()
  }
  go?.()
  await eventually(() => lefts.length > 0)
  t.equal(lefts[0], left - 10, 'the lease was not renewed')
  await eventually(() => gate.stats().reason === 'EPOCH_WENT_BACK')
  t.equal((await real.tables(REGISTRATIONS)).flat().length, 3, 'it does not join the copy')
})

void t.test('an instance that missed many quiet epochs reads the store once', async (t) => {
  const { real, faults, gate, poller } = await pollerOn(t, await storeFolder(t))
  await poller.start()
  let go: (() => void) | undefined
  faults.beat = () => new Promise((resolve) => (go = resolve))
  await eventually(() => go !== undefined)
  for (let i = 0; i < MANY; i++) await register(real, identity('a'), -1)
  const { epoch } = await real.contents()
  let reads = 0
  faults.snapshot = () => {
    reads += 1
    return Promise.resolve()
  }
  delete faults.beat
  go?.()
  await eventually(() => gate.stats().epoch === epoch)
  t.equal(reads, 1)
})

void t.test('a chain of quiet epochs counts only if it is whole and authentic', async (t) => {
  const folder = await storeFolder(t)
  const store = await folder.open()
  const mark = () => store.database.snapshot((reader) => readState(reader, store.sealing))
  // The first epoch of a store has no tag that the next one could name.
  await register(store, identity('first'), -1)
  const from = await mark()
  for (const id of ['a', 'b', 'c']) await register(store, identity(id), -1)
  const to = await mark()
  const [row] = await store.database.read(`SELECT ${EPOCHS_AFTER} AS later`, [
    from.epoch,
    from.epoch,
  ])
  const later = String(row?.['later'])
  const isQuiet = (text: string, last: EpochMark = to) =>
    isQuietSince(store.sealing, from, last, text)
  t.equal(isQuiet(later), true)
  const words = later.split(' ')
  t.equal(words.length, 9)
  const without = (at: number) => [...words.slice(0, at), ...words.slice(at + 3)].join(' ')
  for (const at of [0, 3, 6]) t.equal(isQuiet(without(at)), false, `without epoch ${String(at)}`)
  for (let at = 0; at < words.length; at++) {
    const changed = words.map((word, i) => (i === at ? `${word}0` : word)).join(' ')
    t.equal(isQuiet(changed), false, `word ${String(at)} is changed`)
  }
  t.equal(isQuiet(''), false)
  t.equal(isQuiet(`${later} ${later}`), false, 'more than the epochs')
  t.equal(isQuiet(later, { ...to, epoch: to.epoch + 1 }), false, 'another end')
  t.equal(isQuiet(later, from), false, 'no epoch at all')
})
