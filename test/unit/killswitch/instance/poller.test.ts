/** Tests that the poller applies each change once, then acknowledges it, and renews the lease last. */
// SPDX-License-Identifier: Apache-2.0
import { rename, writeFile } from 'node:fs/promises'
import t from 'tap'
import { openHighWater } from '../../../../src/killswitch/instance/high-water.ts'
import { GateError } from '../../../../src/killswitch/model.ts'
import { kill } from '../../../../src/killswitch/operator/kill.ts'
import { StorageError } from '../../../../src/store/database.ts'
import { isOpen, LEASE_MS, pollerOn } from '../../../support/poller.ts'
import { eventually } from '../../../support/server.ts'
import { storeFolder } from '../../../support/store.ts'

const ENCRYPT = { keyStore: 'demo', keyId: 'a', operation: 'Encrypt' } as const
const ORDER = { scope: { kind: 'all' }, direction: 'both', reason: 'why', operator: 'who' } as const

const LOST = 'cannot read the control store'
const BACK = 'the control store is readable again'

void t.test('the gate opens with the first poll, and follows kills', async (t) => {
  const { real, gate, poller, order, row, clock } = await pollerOn(t, await storeFolder(t))
  t.notOk(isOpen(gate), 'shut before anything is known')
  await poller.start()
  t.ok(isOpen(gate))
  t.same(order, ['cut at 1', 'reload'])
  const { epoch } = await kill(real, clock, ORDER)
  await eventually(async () => (await row())?.ackedEpoch === epoch)
  t.equal(gate.stats().reason, 'KILLED_ALL')
  await eventually(() => order.length === 4)
  t.same(order.slice(2), [`cut at ${String(epoch)}`, 'reload'], 'the gate first, then keys')
  await eventually(async () => (await row())?.reason === 'KILLED_ALL')
})

void t.test('a poll reads what it announced, and nothing else', async (t) => {
  const { real, gate, poller, row, clock, announced, unexpected } = await pollerOn(
    t,
    await storeFolder(t),
  )
  await poller.start()
  for (const direction of ['encrypt', 'decrypt', 'both'] as const) {
    const { epoch } = await kill(real, clock, { ...ORDER, direction })
    await eventually(async () => (await row())?.ackedEpoch === epoch)
  }
  t.equal(gate.stats().reason, 'KILLED_ALL')
  t.ok(announced.length >= 3, String(announced))
  t.same(unexpected, [])
})

void t.test('without its mark it refuses, blames the file, and acknowledges nothing', async (t) => {
  let isFull = false
  const highWater = await openHighWater(undefined, 'any')
  const { real, gate, poller, row, clock, said } = await pollerOn(t, await storeFolder(t), {
    highWater: {
      get mark() {
        return highWater.mark
      },
      isForeign: false,
      raise: (mark) =>
        isFull
          ? Promise.reject(new GateError('HIGH_WATER_UNWRITABLE', 'full'))
          : highWater.raise(mark),
      note: highWater.note,
    },
  })
  await poller.start()
  t.ok(gate.canServe())
  isFull = true
  const { epoch } = await kill(real, clock, { ...ORDER, direction: 'encrypt' })
  await eventually(() => gate.stats().reason === 'HIGH_WATER_UNWRITABLE')
  t.notOk(gate.canServe())
  await eventually(async () => (await row())?.reason === 'HIGH_WATER_UNWRITABLE')
  t.not((await row())?.ackedEpoch, epoch)
  t.same(said, ['cannot write the high-water file; refusing all requests'])
  isFull = false
  await eventually(async () => (await row())?.ackedEpoch === epoch)
  await eventually(() => gate.canServe())
  await eventually(() => said.at(-1) === 'the high-water file is writable again')
})

void t.test('acknowledges only once released responses have been sent', async (t) => {
  let through: () => void = () => undefined
  let isCutting = false
  const { real, poller, row, clock, gate } = await pollerOn(t, await storeFolder(t), {
    cutRevoked: () => {
      if (gate.stats().epoch <= 1 || isCutting) return Promise.resolve()
      isCutting = true
      return new Promise((resolve) => (through = resolve))
    },
  })
  await poller.start()
  const { epoch } = await kill(real, clock, ORDER)
  await eventually(() => isCutting)
  t.equal(gate.stats().reason, 'KILLED_ALL', 'the gate is closed already')
  const before = await row()
  t.ok((before?.ackedEpoch ?? epoch) < epoch, 'and nothing is said yet')
  through()
  await eventually(async () => (await row())?.ackedEpoch === epoch)
})

void t.test(
  'the lease counts from before the request, and an old response does not extend it',
  async (t) => {
    const { faults, gate, poller, clock } = await pollerOn(t, await storeFolder(t))
    await poller.start()
    let asked = 0
    let answer: () => void = () => undefined
    faults.beat = () => {
      asked += 1
      return new Promise((resolve) => (answer = resolve))
    }
    await eventually(() => asked === 1)
    // A poll that takes most of a lease leaves only the remainder of the lease.
    clock.advance(LEASE_MS - 100)
    answer()
    await eventually(() => asked === 2)
    t.ok(isOpen(gate))
    t.equal(gate.stats().leaseLeftMs, 100)
    clock.advance(99)
    t.ok(isOpen(gate))
    clock.advance(1)
    t.throws(() => gate.check(ENCRYPT), { code: 'LEASE_EXPIRED' })
    delete faults.beat
    answer()
    await eventually(() => isOpen(gate))
  },
)

void t.test('the lease is not renewed before a change is applied', async (t) => {
  const { real, faults, gate, poller, clock, said } = await pollerOn(t, await storeFolder(t))
  await poller.start()
  faults.snapshot = () => Promise.reject(new StorageError('STORE_TIMEOUT', 'slow'))
  await kill(real, clock, ORDER)
  await eventually(() => said.includes(LOST))
  clock.advance(LEASE_MS)
  t.equal(gate.stats().reason, 'LEASE_EXPIRED')
  delete faults.snapshot
  await eventually(() => gate.stats().reason === 'KILLED_ALL')
  await eventually(() => said.includes(BACK))
  t.same(said, [LOST, BACK], 'once for each outage')
})

void t.test('a removed instance registers again before it continues', async (t) => {
  const { real, gate, poller, clock, row } = await pollerOn(t, await storeFolder(t))
  await poller.start()
  const left = gate.stats().leaseLeftMs
  await real.database.transaction((transaction) => transaction.execute('DELETE FROM instances'))
  clock.advance(10)
  await eventually(async () => (await row()) !== undefined && gate.stats().leaseLeftMs === left)
  t.ok(isOpen(gate))
})

void t.test('a store older than the high-water mark is refused until it is accepted', async (t) => {
  const folder = await storeFolder(t)
  const { real, gate, poller, clock, row } = await pollerOn(t, folder)
  await poller.start()
  const [earlier] = folder.read("SELECT value FROM facts WHERE name = 'state'")
  const { epoch } = await kill(real, clock, ORDER)
  await eventually(async () => (await row())?.ackedEpoch === epoch)
  // Simulates a restored backup, which is consistent but lacks later changes.
  folder.tamper(
    `BEGIN;
     DELETE FROM switches;
     DELETE FROM control_events;
     DELETE FROM epochs WHERE epoch = ${String(epoch)};
     UPDATE facts SET value = '${String(epoch - 1)}' WHERE name = 'epoch';
     UPDATE facts SET value = '${String(earlier?.['value'])}' WHERE name = 'state';
     COMMIT`,
  )
  await eventually(() => gate.stats().reason === 'EPOCH_WENT_BACK')
  // Simulates the same epoch number in a different history.
  await real.change(() => Promise.resolve())
  await real.change(() => Promise.resolve())
  t.equal(gate.stats().reason, 'EPOCH_WENT_BACK')
  await eventually(async () => (await row())?.ackedEpoch === epoch + 1)
  await real.change(() => Promise.resolve())
  await eventually(async () => (await row())?.ackedEpoch === epoch + 2)
  t.equal((await row())?.highEpoch, epoch, 'a later number of another history is no mark')
  t.throws(() => gate.check(ENCRYPT), { code: 'EPOCH_WENT_BACK' })
  const { acceptEpoch } = await import('../../../../src/killswitch/operator/service.ts')
  t.ok((await acceptEpoch(real, clock, { operator: 'who', reason: 'why' })) > epoch)
  await eventually(() => isOpen(gate))
})

void t.test(
  'rows of the real history do not make an older copy that has grown a continuation',
  async (t) => {
    const folder = await storeFolder(t)
    const { real, gate, poller, clock, row } = await pollerOn(t, folder)
    await poller.start()
    const [earlier] = folder.read("SELECT value FROM facts WHERE name = 'state'")
    const { epoch } = await kill(real, clock, ORDER)
    await eventually(async () => (await row())?.ackedEpoch === epoch)
    const [seen] = folder.read(`SELECT tag, mac FROM epochs WHERE epoch = ${String(epoch)}`)
    folder.tamper(
      `BEGIN;
     DELETE FROM switches;
     DELETE FROM control_events;
     DELETE FROM epochs WHERE epoch = ${String(epoch)};
     UPDATE facts SET value = '${String(epoch - 1)}' WHERE name = 'epoch';
     UPDATE facts SET value = '${String(earlier?.['value'])}' WHERE name = 'state';
     COMMIT`,
    )
    await eventually(() => gate.stats().reason === 'EPOCH_WENT_BACK')
    for (let i = 0; i < 3; i++) await real.change(() => Promise.resolve())
    // The kill's own row is authentic, but the copy's next epoch follows a different one.
    folder.tamper(
      `UPDATE epochs SET tag = '${String(seen?.['tag'])}', mac = '${String(seen?.['mac'])}'
     WHERE epoch = ${String(epoch)}`,
    )
    const now = await real.change((_, after) => Promise.resolve(after))
    await eventually(async () => (await row())?.ackedEpoch === now)
    t.equal(gate.stats().reason, 'EPOCH_WENT_BACK')
    t.throws(() => gate.check(ENCRYPT), { code: 'EPOCH_WENT_BACK' })
    t.equal((await row())?.highEpoch, epoch)
  },
)

void t.test(
  'if rows were changed from outside, everything is refused, and that is acknowledged',
  async (t) => {
    const folder = await storeFolder(t)
    const { real, gate, poller, clock, row } = await pollerOn(t, folder)
    await poller.start()
    folder.tamper("UPDATE facts SET value = 'x' WHERE name = 'state'")
    t.ok(isOpen(gate), 'nobody looks until the epoch changes')
    const written = await kill(real, clock, ORDER)
    t.equal(written.switch, undefined, 'no row can be added to such a store')
    await eventually(async () => (await row())?.ackedEpoch === written.epoch)
    t.equal(gate.stats().reason, 'STORE_LOST')
  },
)

void t.test('a replaced file is noticed at once, and used again when it returns', async (t) => {
  const folder = await storeFolder(t)
  const { gate, poller } = await pollerOn(t, folder)
  await poller.start()
  const { path } = folder.options
  await rename(path, `${path}.away`)
  await eventually(() => gate.stats().reason === 'STORE_LOST')
  await writeFile(path, '')
  t.throws(() => gate.check(ENCRYPT), { code: 'STORE_LOST' })
  await rename(`${path}.away`, path)
  await eventually(() => isOpen(gate))
})

void t.test('stop shuts the gate permanently and removes the row', async (t) => {
  const { gate, poller, row } = await pollerOn(t, await storeFolder(t))
  await poller.start()
  await poller.stop()
  t.equal(gate.stats().reason, 'STOPPED')
  t.equal(await row(), undefined)
})

void t.test('a start in an outage does not reject, and recovers', async (t) => {
  const { faults, gate, poller, said } = await pollerOn(t, await storeFolder(t))
  faults.beat = () => Promise.reject(new StorageError('STORE_TIMEOUT', 'disk'))
  await poller.start()
  t.notOk(isOpen(gate))
  delete faults.beat
  await eventually(() => isOpen(gate))
  t.same(said, [LOST, BACK])
})

void t.test('keys that could not be loaded are tried again at each poll', async (t) => {
  let tries = 0
  const { poller, gate, said } = await pollerOn(t, await storeFolder(t), {
    onChange: () => (++tries < 4 ? Promise.reject(new Error('no')) : Promise.resolve()),
  })
  await poller.start()
  await eventually(() => said.includes(BACK))
  t.equal(tries, 4)
  t.ok(isOpen(gate))
})
