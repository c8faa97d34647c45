/** Tests that a waiting kill expects what each of its looks reads, so that a look is one message. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { kill } from '../../../../src/killswitch/operator/kill.ts'
import { waitForRevocation } from '../../../../src/killswitch/operator/wait.ts'
import { register } from '../../../../src/killswitch/instance/instances.ts'
import { beatOf, identity, LEASE_MS, ORDER, say } from '../../../contract/control-fixture.ts'
import { eventually } from '../../../support/server.ts'
import { storeFolder } from '../../../support/store.ts'
import { recordUnexpected, type Unexpected } from '../../../support/unexpected.ts'

void t.test('only the first look, and one after a change, read more', async (t) => {
  const folder = await storeFolder(t)
  const { clock } = folder
  const real = await folder.open()
  const { store, take } = recordUnexpected(real)
  await register(real, identity('a'), 0)
  const done = await kill(real, clock, ORDER)
  const looks: Unexpected[] = []
  const lookUntil = (found: (one: Unexpected) => boolean) =>
    eventually(() => {
      looks.push(...take())
      return looks.some(found)
    })
  const waiting = waitForRevocation({ store, clock, leaseMs: LEASE_MS }, done)
  const isExpected = (one: Unexpected) => one?.length === 0
  await lookUntil(isExpected)
  t.equal(looks[0], undefined, 'nothing is known before the first look')
  t.ok(looks.slice(1).every(isExpected))
  looks.length = 0
  await register(real, identity('b'), 0)
  await lookUntil((one) => one?.some((sql) => sql.includes('FROM registrations')) === true)
  looks.length = 0
  await lookUntil(isExpected)
  await say(real, 'a', beatOf(1, done))
  t.match(await waiting, { isComplete: true, instances: [{ id: 'a', how: 'acknowledged' }] })
})
