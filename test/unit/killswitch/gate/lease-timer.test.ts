/** Tests that an expired lease cuts off waiting responses exactly once, and that the guard is then disarmed. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { silentLogger } from '../../../../src/core/logger.ts'
import { createGate } from '../../../../src/killswitch/gate/gate.ts'
import { createLeaseEnd } from '../../../../src/killswitch/gate/lease-timer.ts'
import type {
  LeaseGuard,
  LeaseGuardStats,
} from '../../../../src/killswitch/gate/guard/lease-guard.ts'
import { createRules } from '../../../../src/killswitch/gate/rules.ts'
import { FakeClock } from '../../../support/fake-clock.ts'
import { eventually } from '../../../support/server.ts'

const LEASE_MS = 30

function setUp() {
  const clock = new FakeClock()
  const gate = createGate(clock, LEASE_MS)
  gate.apply(createRules([]), 1)
  let stats: LeaseGuardStats = { isOn: true, firings: 0, cut: 0 }
  const told: string[] = []
  const guard: LeaseGuard = {
    missing: undefined,
    protect: () => undefined,
    mark: () => clock.monotonic(),
    arm: (mark) => told.push(`armed from ${String(mark)}`),
    disarm: () => told.push('disarmed'),
    stats: () => stats,
    close: () => told.push('closed'),
  }
  let cuts = 0
  let duringCut = () => Promise.resolve()
  const said: object[] = []
  const leaseEnd = createLeaseEnd({
    ...{ gate, guard },
    cutRevoked: () => {
      cuts += 1
      return duringCut()
    },
    logger: { ...silentLogger, warn: (_, fields) => said.push(fields ?? {}) },
  })
  const renew = (askedAt = clock.monotonic()) => {
    gate.renew(askedAt)
    leaseEnd.watch(askedAt)
  }
  return {
    ...{ clock, leaseEnd, renew, told, said },
    cuts: () => cuts,
    duringCut: (work: () => Promise<void>) => (duringCut = work),
    fired: (firings: number, cut: number) => (stats = { isOn: true, firings, cut }),
  }
}

/** Waits for twice the lease duration. */
const pause = () => new Promise((resolve) => setTimeout(resolve, 2 * LEASE_MS))

void t.test(
  'cuts at the end, and again at the end of a lease that was renewed later',
  async (t) => {
    const { clock, renew, cuts } = setUp()
    renew()
    await pause()
    t.equal(cuts(), 0, 'the clock has not moved: the lease is held')
    clock.advance(LEASE_MS - 1)
    renew()
    clock.advance(LEASE_MS - 1)
    await pause()
    t.equal(cuts(), 0, 'a renewal counts')
    clock.advance(1)
    await eventually(() => cuts() === 1)
    await pause()
    t.equal(cuts(), 1, 'once')
    renew()
    clock.advance(LEASE_MS)
    await eventually(() => cuts() === 2)
  },
)

void t.test(
  'each renewal arms the guard, and the guard is disarmed once all connections are cut',
  async (t) => {
    const { clock, leaseEnd, renew, told, duringCut, cuts } = setUp()
    const start = clock.monotonic()
    renew()
    clock.advance(LEASE_MS - 1)
    renew()
    const armed = [start, start + LEASE_MS - 1].map((at) => `armed from ${String(at)}`)
    t.same(told, armed)
    let finish: () => void = () => undefined
    duringCut(() => new Promise((done) => (finish = done)))
    clock.advance(LEASE_MS)
    await eventually(() => cuts() === 1)
    t.same(told, armed, 'not before')
    finish()
    await eventually(() => told.at(-1) === 'disarmed')
    leaseEnd.stop()
    t.equal(told.at(-1), 'closed')
  },
)

void t.test('a renewal during the cut keeps the guard armed', async (t) => {
  const { clock, renew, told, duringCut, cuts } = setUp()
  renew()
  duringCut(() => {
    renew()
    return Promise.resolve()
  })
  clock.advance(LEASE_MS)
  await eventually(() => cuts() === 1)
  await pause()
  t.equal(told.length, 2)
  t.notOk(told.includes('disarmed'))
})

void t.test('a renewal that arrives after the end of its lease does not arm the guard', (t) => {
  const { clock, leaseEnd, renew, told } = setUp()
  const askedAt = clock.monotonic()
  clock.advance(LEASE_MS)
  renew(askedAt)
  t.same(told, [])
  leaseEnd.stop()
  t.end()
})

void t.test('says how many connections the guard has cut, each time', async (t) => {
  const { clock, leaseEnd, renew, said, fired } = setUp()
  renew()
  fired(1, 3)
  clock.advance(LEASE_MS)
  await eventually(() => said.length === 1)
  fired(2, 7)
  renew()
  leaseEnd.stop()
  t.same(said, [{ connections: 3 }, { connections: 4 }])
})

void t.test('reports nothing after it is stopped', async (t) => {
  const { clock, leaseEnd, renew, cuts } = setUp()
  renew()
  leaseEnd.stop()
  clock.advance(LEASE_MS)
  await pause()
  t.equal(cuts(), 0)
})
