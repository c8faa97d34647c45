/** Tests the poller while the store key is replaced and while keys are reloaded. */
// SPDX-License-Identifier: Apache-2.0
import { rename } from 'node:fs/promises'
import t from 'tap'
import { systemClock } from '../../../../src/core/clock.ts'
import { createGate } from '../../../../src/killswitch/gate/gate.ts'
import { kill } from '../../../../src/killswitch/operator/kill.ts'
import { waitForRevocation } from '../../../../src/killswitch/operator/wait.ts'
import { identity, instancesOf } from '../../../contract/control-fixture.ts'
import { rekeyStore } from '../../../../src/store/rekey.ts'
import type { Store } from '../../../../src/store/store.ts'
import { isOpen, LEASE_MS, pollerOn } from '../../../support/poller.ts'
import { eventually } from '../../../support/server.ts'
import { storeFolder } from '../../../support/store.ts'

const ORDER = { scope: { kind: 'all' }, direction: 'both', reason: 'why', operator: 'who' } as const
const LOST = 'cannot read the control store'
const BACK = 'the control store is readable again'

void t.test('a store key that cannot be loaded is no fault of the store, and passes', async (t) => {
  const folder = await storeFolder(t)
  const store = await folder.open()
  const { gate, poller, said, clock } = await pollerOn(t, folder, { store })
  await poller.start()
  const { masterKeyFile: file, options } = folder
  await rename(file, `${file}.away`)
  await rekeyStore(
    { ...options, masterKey: { kind: 'file', path: `${file}.away` } },
    {
      clock: systemClock,
      async waitForKey() {
        await eventually(() => store.lacksNextKey)
        t.ok(isOpen(gate), 'nothing needs a key that is only announced')
        return []
      },
      waitForEpoch: () => Promise.resolve([]),
      isServed: () => Promise.resolve(false),
    },
  )
  await eventually(() => said.includes(LOST))
  t.match(store.missingKey, { code: 'MASTER_KEY_UNREADABLE' })
  t.equal(store.fault, undefined)
  t.not(gate.stats().reason, 'STORE_LOST', 'only the lease ends')
  clock.advance(LEASE_MS + 1)
  t.notOk(isOpen(gate))
  await rename(`${file}.away`, file)
  await eventually(() => isOpen(gate))
  await eventually(() => said.includes(BACK))
  t.equal(store.missingKey, undefined)
})

void t.test('a kill does not wait until keys are reloaded', async (t) => {
  const held: (() => void)[] = []
  let reloads = 0
  const { gate, poller, real, clock } = await pollerOn(t, await storeFolder(t), {
    onChange: () => {
      reloads += 1
      return new Promise((resolve) => held.push(resolve))
    },
  })
  await poller.start()
  await kill(real, clock, ORDER)
  await eventually(() => gate.stats().reason === 'KILLED_ALL')
  t.equal(reloads, 1, 'reloads do not overlap')
  held[0]?.()
  await eventually(() => reloads === 2)
  held[1]?.()
})

/** The lease is so long that only an acknowledgement can end a wait during the test. */
const LONG_LEASE_MS = 3_600_000

void t.test('a store key that is only announced hides no instance', async (t) => {
  const folder = await storeFolder(t)
  const { clock, options } = folder
  const [longLived, lateServer] = [await folder.open(), await folder.open()]
  const gate = createGate(clock, LONG_LEASE_MS)
  const { poller, row } = await pollerOn(t, folder, {
    ...{ store: await folder.open(), gate, me: identity('me', LONG_LEASE_MS) },
  })
  await poller.start()
  for (let i = 0; i < 2; i++) {
    clock.advance(LONG_LEASE_MS * 0.7)
    await eventually(() => gate.stats().leaseLeftMs === LONG_LEASE_MS)
  }
  await eventually(async () => ((await row())?.heldMs ?? 0) > LONG_LEASE_MS)

  const interrupted = rekeyStore(options, {
    clock,
    waitForKey: () => Promise.reject(new Error('interrupted')),
    waitForEpoch: () => Promise.resolve([]),
    isServed: () => Promise.resolve(true),
  })
  await t.rejects(interrupted, /interrupted/)
  const isGenuine = async (store: Store) => (await instancesOf(store))[0]?.isGenuine
  await eventually(async () => (await isGenuine(longLived)) === false)

  const fresh = await folder.open()
  t.equal(await isGenuine(fresh), true, 'a handle has the key once it is open')
  for (const [name, store] of Object.entries({ fresh, longLived })) {
    const scope = { kind: 'key-store', keyStore: name } as const
    const killed = await kill(store, clock, { ...ORDER, scope })
    const { instances } = await waitForRevocation({ store, clock, leaseMs: LEASE_MS }, killed)
    t.match(instances, [{ id: 'me', how: 'acknowledged' }], name)
  }

  const late = createGate(clock, LONG_LEASE_MS)
  const me = { ...identity('late', LONG_LEASE_MS), group: 'another host' }
  const newcomer = await pollerOn(t, folder, { store: lateServer, gate: late, me })
  await newcomer.poller.start()
  await eventually(() => isOpen(late))
})
