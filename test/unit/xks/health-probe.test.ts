/** Tests the background health check: its result is complete, cached, and never older than it claims. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { KeyBackend, ManagerHealth } from '../../../src/keys/key-backend.ts'
import { createHealthProbe } from '../../../src/xks/health-probe.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import { eventually } from '../../support/server.ts'

const ACTIVE: readonly ManagerHealth[] = [{ id: 'one', model: 'm', status: 'ACTIVE' }]

function probeOf(health: () => Promise<readonly ManagerHealth[]>, timeoutMs = 1000) {
  const clock = new FakeClock()
  const changes: string[] = []
  const probe = createHealthProbe({
    backend: { health } as unknown as KeyBackend,
    clock,
    intervalMs: 3_600_000,
    timeoutMs,
    onChange: (_before, after) => changes.push(after.map((m) => m.status).join()),
  })
  t.teardown(() => probe.stop())
  return { clock, probe, changes }
}

void t.test('[HLT-1] before the first check, no key manager is reported as working', (t) => {
  const { probe } = probeOf(() => Promise.resolve(ACTIVE))
  t.match(probe.current(), [{ status: 'UNAVAILABLE' }])
  t.end()
})

void t.test('[HLT-7] a cached result is not used beyond one minute', async (t) => {
  const { clock, probe } = probeOf(() => Promise.resolve(ACTIVE))
  await probe.start()
  t.same(probe.current(), ACTIVE)
  clock.advance(60_000)
  t.same(probe.current(), ACTIVE, 'exactly one minute is not older than one minute')
  clock.advance(1)
  t.match(probe.current(), [{ id: 'one', status: 'UNAVAILABLE' }])
})

void t.test('[HLT-1] a check that fails or hangs makes every manager unavailable', async (t) => {
  const failing = probeOf(() => Promise.reject(new Error('gone')))
  await failing.probe.start()
  t.match(failing.probe.current(), [{ status: 'UNAVAILABLE' }])
  const hanging = probeOf(() => new Promise(() => undefined), 1)
  await hanging.probe.start()
  t.match(hanging.probe.current(), [{ status: 'UNAVAILABLE' }])
})

void t.test(
  'a failed operation starts a check at once, and many failures start only one',
  async (t) => {
    let checks = 0
    let answer = ACTIVE
    const { clock, probe } = probeOf(() => {
      checks += 1
      return Promise.resolve(answer)
    })
    await probe.start()
    clock.advance(500)
    answer = [{ id: 'one', model: 'm', status: 'UNAVAILABLE' }]
    for (let i = 0; i < 100; i++) probe.recheck()
    await eventually(() => probe.current()[0]?.status === 'UNAVAILABLE')
    t.equal(checks, 2)
    // A check that is requested right after another one is delayed, but runs even if no further operation fails.
    answer = ACTIVE
    for (let i = 0; i < 100; i++) probe.recheck()
    t.equal(checks, 2)
    await eventually(() => probe.current()[0]?.status === 'ACTIVE')
    t.equal(checks, 3)
  },
)

void t.test('changes of state are reported once', async (t) => {
  let answer = ACTIVE
  const { probe, changes } = probeOf(() => Promise.resolve(answer))
  await probe.start()
  await probe.start()
  answer = [{ id: 'one', model: 'm', status: 'DEGRADED' }]
  await probe.start()
  t.same(changes, ['ACTIVE', 'DEGRADED'])
})
