/** Tests that an instance expects everything that a kill makes it read, and so reads it in one message. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { createPolicyFollower } from '../../../../src/app/policy.ts'
import { silentLogger } from '../../../../src/core/logger.ts'
import { createChangeReader } from '../../../../src/killswitch/instance/change-reader.ts'
import { openHighWater } from '../../../../src/killswitch/instance/high-water.ts'
import { register } from '../../../../src/killswitch/instance/instances.ts'
import {
  renewDeadManSwitch,
  startDeadManSwitch,
} from '../../../../src/killswitch/operator/dead-man-switch.ts'
import { kill } from '../../../../src/killswitch/operator/kill.ts'
import { restore } from '../../../../src/killswitch/operator/restore.ts'
import { createAuthorizer } from '../../../../src/policy/authorizer.ts'
import { actor, AT_ONCE, identity, ORDER } from '../../../contract/control-fixture.ts'
import { keyStoreName, storeFolder } from '../../../support/store.ts'
import { recordUnexpected } from '../../../support/unexpected.ts'

const strip = ({ ids, snapshots }: { ids: unknown; snapshots: unknown }) => ({ ids, snapshots })

/** Prepares a registered instance that has read the store once. */
async function setUp(t: Test) {
  const folder = await storeFolder(t)
  const { clock } = folder
  const real = await folder.open()
  const { store, take } = recordUnexpected(real)
  const me = identity('me')
  await register(real, me, -1)
  const highWater = await openHighWater(undefined, real.id)
  const follower = createPolicyFollower(createAuthorizer(), store, silentLogger)
  const reader = createChangeReader({ store, me, highWater, follower })
  const read = async () => {
    const found = await reader.read(await real.database.epoch())
    await highWater.raise(found.state.mark)
    t.ok(found.goesOn)
    t.ok(found.isListed)
    return { found, ids: found.state.switches.map(({ id }) => id).sort(), snapshots: take() }
  }
  t.same((await read()).snapshots, [undefined], 'at first, everything is read')
  let kills = 0
  const killOne = async () => {
    kills += 1
    const scope = { kind: 'key', keyStore: 'demo', keyId: `k${String(kills)}` } as const
    return (await kill(real, clock, { ...ORDER, scope })).switch?.id
  }
  return { real, clock, reader, read, kill: killOne }
}

void t.test('a kill makes an instance read only what it expects', async (t) => {
  const { read, kill } = await setUp(t)
  const first = await kill()
  t.same(strip(await read()), { ids: [first], snapshots: [[]] })
  const second = await kill()
  t.same(strip(await read()), { ids: [first, second].sort(), snapshots: [[]] })
})

void t.test('so it does after other instances have registered', async (t) => {
  const { real, reader, read, kill } = await setUp(t)
  await register(real, identity('other'), -1)
  reader.noteRegistrations()
  const first = await kill()
  t.same(strip(await read()), { ids: [first], snapshots: [[]] })
  // If the instance does not know about the registration, it reads one more table.
  await register(real, identity('late'), -1)
  await kill()
  const { snapshots } = await read()
  t.match(snapshots, [[/FROM registrations/]])
})

void t.test("so it does while there is a dead man's switch", async (t) => {
  const { real, clock, read, kill } = await setUp(t)
  const deps = { store: real, clock, policy: AT_ONCE }
  const order = { keyStore: keyStoreName('demo'), reason: 'why', ...actor('a'), mayRestore: true }
  await startDeadManSwitch(deps, { ...order, ttlMs: 60_000 })
  t.match((await read()).snapshots, [[/dead_man_switches/]])
  await kill()
  const { found, snapshots } = await read()
  t.same(snapshots, [[]])
  t.ok(found.now > 0)
  await renewDeadManSwitch(deps, order)
  t.match((await read()).found.state.deadManSwitches, [{ keyStore: 'demo' }])
})

void t.test('a restore is read, although it is not expected', async (t) => {
  const { real, clock, read, kill } = await setUp(t)
  await kill()
  await read()
  const target = { scope: { kind: 'key', keyStore: 'demo', keyId: 'k1' } } as const
  await restore(real, clock, AT_ONCE, { target, reason: 'over', ...actor('bob') })
  const { ids, snapshots } = await read()
  t.same(ids, [])
  t.equal(snapshots.length, 1)
})

void t.test('after forget, everything is read again', async (t) => {
  const { reader, read, kill } = await setUp(t)
  const first = await kill()
  reader.forget()
  t.same(strip(await read()), { ids: [first], snapshots: [undefined] })
})
