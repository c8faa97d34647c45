/** Tests which requests the tripwire throttles after several rules have fired. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { silentLogger } from '../../../src/core/logger.ts'
import { createThrottles } from '../../../src/tripwire/throttles.ts'
import { createTripwire } from '../../../src/tripwire/tripwire.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import { rule } from '../../support/tripwire.ts'

const HOUR = 3_600_000
const CALLER = 'arn:aws:sts::111122223333:assumed-role/app'

const caller = { awsPrincipalArn: `${CALLER}/i-1` }

const decrypt = (keyStore: string, awsPrincipalArn = caller.awsPrincipalArn) => ({
  ...{ keyStore, keyId: 'k', operation: 'Decrypt' as const },
  metadata: { awsPrincipalArn },
})

const trip = (more: Parameters<typeof rule>[0], subject = { principal: CALLER } as object) => ({
  ...{ rule: rule({ action: 'throttle', ...more }), subject, measured: 2, limit: 1 },
})

void t.test('a second rule about the same caller leaves the throttle of the first', (t) => {
  const throttles = createThrottles()
  throttles.add(trip({ name: 'payroll', keyStore: 'payroll', windowMs: HOUR }), 0)
  throttles.add(trip({ name: 'hr', keyStore: 'hr', windowMs: 1000 }), 10)
  t.equal(throttles.refuses(decrypt('payroll'), 20), true)
  t.equal(throttles.refuses(decrypt('hr'), 20), true)
  t.equal(throttles.refuses(decrypt('other'), 20), false)
  t.equal(throttles.count(20), 1, 'one caller')
  t.equal(throttles.refuses(decrypt('hr'), 1010), false, 'each rule for its own window')
  t.equal(throttles.refuses(decrypt('payroll'), HOUR - 1), true)
  t.equal(throttles.refuses(decrypt('payroll'), HOUR), false)
  t.equal(throttles.count(HOUR), 0)
  t.end()
})

void t.test('rules about one key with other directions and windows add up', (t) => {
  const throttles = createThrottles()
  const key = { keyStore: 'demo', keyId: 'k' }
  throttles.add(trip({ name: 'long', per: 'key', direction: 'both', windowMs: HOUR }, key), 0)
  throttles.add(trip({ name: 'short', per: 'key', windowMs: 1000 }, key), 0)
  const encrypt = { ...decrypt('demo'), operation: 'Encrypt' as const }
  t.equal(throttles.refuses(encrypt, 10), true)
  t.equal(throttles.refuses(encrypt, 2000), true)
  throttles.add(trip({ name: 'long', per: 'key', direction: 'both', windowMs: HOUR }, key), 3000)
  t.equal(
    throttles.refuses(encrypt, HOUR + 1),
    true,
    'a rule that is broken again restarts its window',
  )
  t.end()
})

void t.test('a caller with the name of a key store or key throttles only himself', (t) => {
  const throttles = createThrottles()
  for (const principal of ['demo', 'demo k']) throttles.add(trip({}, { principal }), 0)
  t.equal(throttles.refuses(decrypt('demo'), 1), false)
  t.equal(throttles.refuses(decrypt('demo', 'demo'), 1), true)
  t.end()
})

void t.test('with too many subjects, ended throttles go first, and then the next to end', (t) => {
  const throttles = createThrottles()
  const user = (i: number) => ({ principal: `arn:aws:iam::111122223333:user/u-${String(i)}` })
  throttles.add(trip({ windowMs: HOUR }, user(0)), 0)
  for (let i = 1; i < 1000; i++) throttles.add(trip({ windowMs: 1000 + i }, user(i)), 0)
  throttles.add(trip({ windowMs: HOUR }, user(1000)), 1)
  const isThrottled = (i: number, now: number) =>
    throttles.refuses(decrypt('demo', user(i).principal), now)
  t.equal(isThrottled(0, 2), true, 'the oldest has the longest to go')
  t.equal(isThrottled(1, 2), false)
  t.equal(isThrottled(2, 2), true)
  throttles.add(trip({ windowMs: HOUR }, user(1001)), 5000)
  t.equal(throttles.count(5000), 3)
  t.end()
})

void t.test('a caller throttled in one key store is not freed by a rule of another', async (t) => {
  const clock = new FakeClock()
  const common = { limit: 0, direction: 'both' } as const
  const tripwire = createTripwire({
    ...{ mode: 'enforce', maxSubjects: 100, host: 'h', clock, logger: silentLogger },
    rules: [
      rule({ ...common, name: 'payroll', keyStore: 'payroll', windowMs: HOUR, action: 'kill' }),
      rule({ ...common, name: 'hr', keyStore: 'hr', windowMs: 1000, action: 'throttle' }),
    ],
    ...{ shares: () => 1, learnUntil: () => 0, learningMs: 0, onEvent: () => undefined },
    kill: () => Promise.reject(new Error('the store does not answer')),
  })
  for (const keyStore of ['payroll', 'hr']) {
    tripwire.observe({
      ...{
        ...decrypt(keyStore),
        at: 0,
        remoteAddress: '',
        httpVersion: '',
        method: '',
        target: '',
      },
      ...{ bodyBytes: 0, stages: [], status: 200 },
      metadata: { ...caller, kmsOperation: 'Decrypt', kmsKeyArn: '', kmsRequestId: '' },
    })
  }
  t.equal(tripwire.isThrottled(decrypt('hr')), true)
  t.equal(tripwire.isThrottled(decrypt('payroll')), true)
  clock.advance(2000)
  t.equal(tripwire.isThrottled(decrypt('hr')), false)
  t.equal(tripwire.isThrottled(decrypt('payroll')), true, 'the kill failed; the throttle holds')
  await tripwire.stop()
})
