/** Tests the tripwire's decisions: counts, percentages, first uses, and a replay of labeled traffic. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { type Observation, createDetector } from '../../../src/tripwire/detector.ts'
import { recallTrips } from '../../../src/tripwire/recorded-usage.ts'
import { type Trip, type TripwireRule, toScope } from '../../../src/tripwire/rule.ts'
import { WindowCount } from '../../../src/tripwire/window-count.ts'
import { ATTACKS, RULES, normalLoad, request, rule } from '../../support/tripwire.ts'

const MINUTE = 60_000

function watch(rules: readonly TripwireRule[], more = {}) {
  const detector = createDetector({ rules, maxSubjects: 100, learningMs: MINUTE, ...more })
  const trips: (Trip & { readonly at: number })[] = []
  const see = (at: number, one: Partial<Observation> = {}) => {
    detector.observe(request(one), at, (trip) => trips.push({ ...trip, at }))
    return trips.length
  }
  return { detector, trips, see }
}

void t.test('[property] a window never counts what is older, nor misses a newer part', (t) => {
  const moves = fc.array(
    fc.tuple(fc.integer({ min: 0, max: 40_000 }), fc.integer({ min: 1, max: 5 })),
    {
      maxLength: 80,
    },
  )
  fc.assert(
    fc.property(fc.integer({ min: 16, max: 200_000 }), moves, (windowMs, steps) => {
      const count = new WindowCount(windowMs)
      const seen: { at: number; n: number }[] = []
      let at = 5_000_000
      for (const [stepMs, n] of steps) {
        at += stepMs
        count.add(at, n)
        seen.push({ at, n })
        const within = (ms: number) =>
          seen.reduce((sum, one) => sum + (one.at > at - ms ? one.n : 0), 0)
        const total = count.totalAt(at)
        if (total > within(windowMs) || total < within((windowMs * 15) / 16)) return false
      }
      return true
    }),
  )
  t.end()
})

void t.test('[property] no rule is broken by fewer than its limit in any window', (t) => {
  const gaps = fc.array(fc.integer({ min: 0, max: 20_000 }), { minLength: 5, maxLength: 200 })
  fc.assert(
    fc.property(gaps, fc.integer({ min: 1, max: 30 }), (steps, limit) => {
      const { trips, see } = watch([rule({ limit, windowMs: MINUTE })])
      const times: number[] = []
      let at = MINUTE
      let most = 0
      for (const step of steps) {
        at += step
        times.push(at)
        see(at)
        most = Math.max(most, times.filter((one) => one > at - MINUTE).length)
      }
      return trips.length === 0 || most > limit
    }),
  )
  t.end()
})

void t.test('a caller is reported once in a window, and again if it goes on', (t) => {
  const { trips, see } = watch([rule({ limit: 10, windowMs: MINUTE })])
  for (let at = MINUTE; at < 4 * MINUTE; at += 1000) see(at)
  t.match(trips, [{ measured: 11 }, {}, {}])
  t.equal((trips[1]?.at ?? 0) - (trips[0]?.at ?? 0), MINUTE)
  t.end()
})

void t.test('sessions of a role are counted together, and other callers separately', (t) => {
  const role = (name: string, session: string) => ({
    principal: `arn:aws:sts::111122223333:assumed-role/${name}/${session}`,
  })
  const { trips, see } = watch([rule({ limit: 2 })])
  for (const one of ['a', 'b', 'c']) see(MINUTE, role('app', one))
  see(MINUTE, role('other', 'a'))
  see(MINUTE, { ...role('other', 'b'), operation: 'Encrypt' })
  see(MINUTE, { ...role('other', 'b'), isAllowed: false })
  t.match(trips, [{ subject: { principal: 'arn:aws:sts::111122223333:assumed-role/app' } }])
  t.equal(trips.length, 1)

  const perKey = watch([rule({ limit: 0, per: 'key', keyStore: 'demo', key: 'k' })])
  t.equal(perKey.see(MINUTE, { keyId: 'other' }), 0)
  t.equal(perKey.see(MINUTE, { keyStore: 'other' }), 0)
  t.equal(perKey.see(MINUTE), 1)
  t.same(perKey.trips[0]?.subject, { keyStore: 'demo', keyId: 'k' })
  t.end()
})

void t.test('each process applies its share of a count, and the whole of a share', (t) => {
  const { trips, see } = watch([rule({ limit: 10 })], { shares: () => 4 })
  for (let i = 0; i < 4; i++) see(MINUTE)
  t.match(trips, [{ measured: 4, limit: 3 }])
  t.end()
})

void t.test('a share of denials is judged only with enough requests', (t) => {
  const { trips, see } = watch([rule({ measure: 'denialPercent', limit: 50, atLeast: 10 })])
  for (let i = 0; i < 9; i++) see(MINUTE, { isAllowed: false })
  t.equal(trips.length, 0)
  see(MINUTE, { isAllowed: false })
  t.match(trips, [{ measured: 100 }])
  t.end()
})

void t.test('new callers and classes: none while learning, none that were recorded', (t) => {
  const callers = rule({ measure: 'newPrincipals', per: 'key-store', limit: 1 })
  const { detector, trips, see } = watch([callers], { learnUntil: () => MINUTE })
  see(1, { principal: 'learned' })
  detector.recall(request({ principal: 'recorded' }), 0, 0)
  see(2 * MINUTE, { principal: 'learned' })
  see(2 * MINUTE, { principal: 'recorded' })
  see(2 * MINUTE, { principal: 'first' })
  see(2 * MINUTE, { principal: 'first' })
  t.equal(trips.length, 0)
  see(2 * MINUTE, { principal: 'second' })
  t.match(trips, [{ measured: 2, subject: { keyStore: 'demo' } }])

  const access = watch([rule({ measure: 'newAccessClasses', limit: 0 })], {
    learnUntil: () => MINUTE,
  })
  access.see(1)
  t.equal(access.see(2 * MINUTE), 0)
  t.equal(access.see(2 * MINUTE, { accessClass: 'customer-direct' }), 1)
  t.end()
})

void t.test('memory is bounded: the subject that was quiet for longest is forgotten', (t) => {
  const { detector, see } = watch([rule({ limit: 1 })])
  for (let i = 0; i < 150; i++) see(MINUTE, { principal: `p-${String(i)}` })
  t.equal(detector.forgotten, 50)
  t.equal(see(MINUTE, { principal: 'p-149' }), 1, 'the last one is still counted')
  t.equal(see(MINUTE, { principal: 'p-0' }), 1, 'the first one starts again')
  t.end()
})

void t.test('the usual callers of a forgotten key are learned again and break no rule', (t) => {
  const HOUR = 60 * MINUTE
  const callers = rule({ measure: 'newPrincipals', per: 'key', limit: 1, windowMs: HOUR })
  const use = (see: ReturnType<typeof watch>['see'], at: number) => {
    for (const principal of ['a', 'b', 'c', 'd']) see(at, { principal })
  }
  const fill = (see: ReturnType<typeof watch>['see'], at: number) => {
    for (let i = 0; i < 100; i++) see(at, { keyId: `k-${String(i)}` })
  }

  const { detector, trips, see } = watch([callers], { learnUntil: () => MINUTE })
  use(see, 1)
  fill(see, 2)
  t.equal(detector.forgotten, 1)
  use(see, 2 * HOUR)
  t.equal(trips.length, 0, 'the key was forgotten, and its callers are not new')
  for (const principal of ['e', 'f']) see(3 * HOUR - 1, { principal })
  t.equal(trips.length, 0, 'learned for one window at least')
  for (const principal of ['g', 'h']) see(3 * HOUR, { principal })
  t.match(trips, [{ measured: 2, subject: { keyId: 'k' } }], 'and then new ones count')

  const long = watch([callers], { learnUntil: () => MINUTE, learningMs: 5 * HOUR })
  fill(long.see, 1)
  use(long.see, 2 * HOUR)
  for (const principal of ['e', 'f']) long.see(7 * HOUR - 1, { principal })
  t.equal(long.trips.length, 0)

  const restarted = watch([callers])
  for (const principal of ['a', 'b', 'c']) restarted.detector.recall(request({ principal }), 1, 0)
  for (let i = 0; i < 100; i++) {
    restarted.detector.recall(request({ keyId: `k-${String(i)}` }), 2, 0)
  }
  restarted.detector.recall(request({ principal: 'd' }), 3, 0)
  use(restarted.see, 9 * HOUR)
  t.equal(restarted.trips.length, 0, 'forgotten while it was recalled')
  t.end()
})

void t.test('a key about which nothing was forgotten is not learned again', (t) => {
  const callers = rule({ measure: 'newPrincipals', per: 'key', limit: 1 })
  const { see } = watch([callers], { learnUntil: () => MINUTE })
  see(2 * MINUTE, { principal: 'a' })
  t.equal(see(2 * MINUTE, { principal: 'b' }), 1)
  t.end()
})

void t.test('trips whose window is over take no room from callers in use', (t) => {
  const { detector, see } = watch([rule({ limit: 1, windowMs: MINUTE })])
  const trip = (i: number, at: number, done: 'log' | 'throttle') => ({
    ...({ rule: 'bulk', measure: 'decrypts', action: done, done, measured: 2, limit: 1 } as const),
    ...{ windowMs: MINUTE, at, subject: { principal: `p-${String(i)}` } },
  })
  const now = 10 * MINUTE
  const old = Array.from({ length: 200 }, (_, i) => trip(i, now - MINUTE, 'log'))
  const trips = [...old, trip(1000, now - 1000, 'log'), trip(1001, now - 1000, 'throttle')]
  recallTrips(detector, trips, (wall) => wall, now)
  t.equal(detector.forgotten, 0)
  for (let i = 0; i < 2; i++) see(now, { principal: 'p-1000' })
  t.equal(see(now, { principal: 'p-1000' }), 0, 'reported before the restart')
  see(now, { principal: 'p-1001' })
  t.equal(see(now, { principal: 'p-1001' }), 1, 'a throttle starts again')
  t.end()
})

void t.test('a restart takes over counts and what was reported', (t) => {
  const bulk = rule({ limit: 10, windowMs: MINUTE })
  const next = watch([bulk])
  next.detector.recall(request(), 2 * MINUTE, 10)
  t.equal(next.see(2 * MINUTE + 1), 1)
  const told = watch([bulk])
  told.detector.recall(request(), 2 * MINUTE, 10)
  const subject = { principal: 'arn:aws:sts::111122223333:assumed-role/app' }
  told.detector.quiet('bulk', subject, 2 * MINUTE + 10)
  t.equal(told.see(2 * MINUTE + 1), 0)
  t.equal(told.see(2 * MINUTE + 10), 1)
  t.end()
})

void t.test('the scope of a kill is the caller, the key or the key store, and no more', (t) => {
  const scope = (principal: string) => toScope(rule({ keyStore: 'demo' }), { principal })
  t.same(scope('arn:aws:sts::1:assumed-role/app'), {
    ...{ kind: 'match', keyStore: 'demo' },
    criteria: { principal: 'arn:aws:sts::1:assumed-role/app/*' },
  })
  t.match(scope('*'), { criteria: { principal: '?' } }, 'a name is no pattern')
  t.same(toScope(rule(), { keyStore: 'demo' }), { kind: 'key-store', keyStore: 'demo' })
  t.same(toScope(rule(), { keyStore: 'demo', keyId: 'k' }), {
    ...{ kind: 'key', keyStore: 'demo', keyId: 'k' },
  })
  t.end()
})

/**
 * Number of normal requests. `test/by-hand/tripwire-million.ts` replays a million and measures the time per decision.
 */
const NORMAL = 60_000
/** An attacker's request rate. */
const ATTACK_PER_SECOND = 1000

void t.test(
  'labelled replay: normal load breaks nothing, each attack is found within a second',
  (t) => {
    for (const [name, toAttack] of Object.entries(ATTACKS)) {
      const detector = createDetector({
        rules: RULES,
        maxSubjects: 10_000,
        learningMs: 0,
        learnUntil: () => 1_200_000,
      })
      let last = 0
      const falseTrips: string[] = []
      for (const { observation, at } of normalLoad(NORMAL)) {
        detector.observe(observation, at, ({ rule: { name } }) => falseTrips.push(name))
        last = at
      }
      t.same(falseTrips, [])
      let foundAfterMs = Infinity
      for (let i = 0; i < ATTACK_PER_SECOND && foundAfterMs === Infinity; i++) {
        detector.observe(toAttack(i), last + i, ({ rule }) => {
          if (rule.name === name) foundAfterMs = i
        })
      }
      t.ok(foundAfterMs < 1000, `${name}: found after ${String(foundAfterMs)} ms`)
    }
    t.end()
  },
)
