/**
 * Tests that the poller applies each change once, acknowledges it afterwards, and renews the lease
 * last.
 */
// SPDX-License-Identifier: Apache-2.0
import { rename, writeFile } from 'node:fs/promises'
import t, { type Test } from 'tap'
import { silentLogger } from '../../../../src/core/logger.ts'
import { type GateControl, createGate } from '../../../../src/killswitch/gate/gate.ts'
import { noLeaseGuard } from '../../../../src/killswitch/gate/guard/lease-guard.ts'
import { openHighWater } from '../../../../src/killswitch/instance/high-water.ts'
import { listInstances } from '../../../../src/killswitch/instance/instances.ts'
import { type PollerDeps, createPoller } from '../../../../src/killswitch/instance/poller.ts'
import { GateError } from '../../../../src/killswitch/model.ts'
import { kill } from '../../../../src/killswitch/operator/kill.ts'
import { type Database, StorageError } from '../../../../src/store/database.ts'
import type { Store } from '../../../../src/store/store.ts'
import { eventually } from '../../../support/server.ts'
import { type StoreFolder, storeFolder } from '../../../support/store.ts'

const LEASE_MS = 2000
const ENCRYPT = { keyStore: 'demo', keyId: 'a', operation: 'Encrypt' } as const
const ORDER = { scope: { kind: 'all' }, direction: 'both', reason: 'why', operator: 'who' } as const

/** A store whose database can be cut off or delayed. */
function withFaults(store: Store) {
  const faults: { beat?: () => Promise<void>; snapshot?: () => Promise<void> } = {}
  const database: Database = {
    nowSql: store.database.nowSql,
    transaction: (work) => store.database.transaction(work),
    epoch: () => store.database.epoch(),
    write: (sql, parameters) => store.database.write(sql, parameters),
    read: (sql, parameters) => store.database.read(sql, parameters),
    checkSchema: (reader) => store.database.checkSchema(reader),
    erase: () => store.database.erase(),
    warnings: (processes) => store.database.warnings(processes),
    close: () => store.database.close(),
    async heartbeat(sql, parameters) {
      await faults.beat?.()
      return store.database.heartbeat(sql, parameters)
    },
    async snapshot(work) {
      await faults.snapshot?.()
      return store.database.snapshot(work)
    },
  }
  return { store: { ...store, database }, faults }
}

async function pollerOn(t: Test, folder: StoreFolder, over: Partial<PollerDeps> = {}) {
  const real = await folder.open()
  const { store, faults } = withFaults(real)
  const { clock } = folder
  const gate = createGate(clock, LEASE_MS)
  const said: string[] = []
  const order: string[] = []
  const poller = createPoller({
    ...{ store, clock, gate, intervalMs: 1, guard: noLeaseGuard('a test') },
    me: { id: 'me', group: 'g', host: 'h', pid: 1, worker: 0, version: '0', leaseMs: LEASE_MS },
    highWater: await openHighWater(undefined, real.id),
    cutRevoked: () => {
      order.push(`cut at ${String(gate.stats().epoch)}`)
      return Promise.resolve()
    },
    onChange: () => {
      order.push('reload')
      return Promise.resolve()
    },
    logger: { ...silentLogger, warn: (message) => said.push(message) },
    ...over,
  })
  t.teardown(() => poller.stop())
  const row = async () =>
    (await real.database.snapshot((reader) => listInstances(reader, real.sealing, []))).find(
      ({ id, isGenuine }) => id === 'me' && isGenuine,
    )
  return { real, faults, clock, gate, poller, said, order, row }
}

function isOpen(gate: GateControl): boolean {
  return gate.stats().state === 'open'
}

const LOST = 'the control store cannot be read'
const BACK = 'the control store is readable again'

void t.test('the gate opens with the first poll, and follows what is killed', async (t) => {
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
  t.same(said, ['the high-water file cannot be written: everything is refused'])
  isFull = false
  await eventually(async () => (await row())?.ackedEpoch === epoch)
  await eventually(() => gate.canServe())
  await eventually(() => said.at(-1) === 'the high-water file can be written again')
})

void t.test('acknowledges only when what was released is through', async (t) => {
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
  'the lease counts from before the question, and an old answer does not last',
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
    // A poll that takes most of a lease leaves only the rest of it.
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

void t.test('a store that goes back behind what was seen is refused, until accepted', async (t) => {
  const folder = await storeFolder(t)
  const { real, gate, poller, clock, row } = await pollerOn(t, folder)
  await poller.start()
  const [earlier] = folder.read("SELECT value FROM facts WHERE name = 'state'")
  const { epoch } = await kill(real, clock, ORDER)
  await eventually(async () => (await row())?.ackedEpoch === epoch)
  // A restored backup: consistent, but without later changes.
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
  // The same epoch number in another history.
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

void t.test('rows that others changed: all is refused, and that is acknowledged', async (t) => {
  const folder = await storeFolder(t)
  const { real, gate, poller, clock, row } = await pollerOn(t, folder)
  await poller.start()
  folder.tamper("UPDATE facts SET value = 'x' WHERE name = 'state'")
  t.ok(isOpen(gate), 'nobody looks until the epoch changes')
  const written = await kill(real, clock, ORDER)
  t.equal(written.switch, undefined, 'no row can be added to such a store')
  await eventually(async () => (await row())?.ackedEpoch === written.epoch)
  t.equal(gate.stats().reason, 'STORE_LOST')
})

void t.test(
  'a file that is replaced is noticed at once, and one that comes back is used',
  async (t) => {
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
  },
)

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
