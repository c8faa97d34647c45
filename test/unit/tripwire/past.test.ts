/** Tests simulating rules on recorded usage, and suggesting rules based on it. */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { toLearnUntil } from '../../../src/tripwire/recorded-usage.ts'
import type { TripwireRule } from '../../../src/tripwire/rule.ts'
import {
  fromAuditEntry,
  mergeByTime,
  simulateRequests,
  simulateUsage,
} from '../../../src/tripwire/simulate.ts'
import { suggestRules } from '../../../src/tripwire/suggest.ts'
import type { ActivitySpan } from '../../../src/usage/usage-table.ts'
import { request, rule } from '../../support/tripwire.ts'

const HOUR = 3_600_000
const OPTIONS = { learningMs: 24 * HOUR, maxSubjects: 1000 }

/** Builds a caller's requests within one hour. `hour` counts from a fixed start. */
function span(
  hour: number,
  requests: number,
  more: Partial<ActivitySpan['subject']> = {},
): ActivitySpan {
  const startsAt = (480_000 + hour) * HOUR
  return {
    ...{ startsAt, requests, firstAt: startsAt + 1000, lastAt: startsAt + HOUR - 1 },
    subject: {
      ...{ keyStore: 'demo', keyId: 'k', operation: 'Decrypt', kmsOperation: 'Decrypt' },
      ...{ outcome: 'ok', isOverflow: false, principal: 'arn:aws:iam::111122223333:user/a' },
      kmsKeyArn: 'arn:aws:kms:eu-west-1:111122223333:key/1',
      ...more,
    },
  }
}

const counts = (spans: readonly ActivitySpan[], rules: readonly TripwireRule[]) =>
  simulateUsage(spans, { rules, ...OPTIONS }).trips.map(({ certain, possible }) => [
    certain,
    possible,
  ])

void t.test('usage by hour says what was certain, and what was possible', (t) => {
  const tenMinutes = (limit: number) => [rule({ limit, windowMs: 600_000 })]
  t.same(counts([span(0, 700)], tenMinutes(99)), [[1, 0]], 'seven parts of 100 break 99')
  t.same(counts([span(0, 700)], tenMinutes(100)), [[0, 1]])
  t.same(counts([span(0, 700)], tenMinutes(700)), [])
  const day = (limit: number) => [rule({ limit, windowMs: 24 * HOUR })]
  const hours = Array.from({ length: 25 }, (_, i) => span(i, 10))
  t.same(counts(hours, day(250)), [])
  t.same(counts(hours, day(240)), [[0, 1]])
  t.match(counts(hours, day(219)), [[Number, Number]])
  t.end()
})

void t.test('new callers are known by their first request; unnamed ones are counted apart', (t) => {
  const rules = [rule({ measure: 'newPrincipals', per: 'key-store', limit: 1, windowMs: HOUR })]
  const user = (n: number) => ({ principal: `arn:aws:iam::111122223333:user/u-${String(n)}` })
  const spans = [span(0, 1), span(1, 1, user(1)), span(30, 5, user(2)), span(30, 1, user(3))]
  t.same(counts(spans, rules), [[1, 0]])
  const unnamed = { ...span(3, 7), subject: { ...span(3, 7).subject, isOverflow: true } }
  t.equal(simulateUsage([unnamed], { rules, ...OPTIONS }).notToldApart, 7)
  t.end()
})

void t.test('denials of policies and of unknown keys count, refusals by a kill do not', (t) => {
  const rules = [rule({ measure: 'denialPercent', limit: 10, atLeast: 10, windowMs: HOUR })]
  const of = (outcome: string) => counts([span(0, 100), span(0, 30, { outcome })], rules)
  t.same(of('POLICY_DEFAULT'), [[0, 1]])
  t.same(of('KEY_NOT_FOUND'), [[0, 1]])
  t.same(of('KILLED_ALL'), [])
  t.end()
})

void t.test('[property] suggested rules are not broken by the usage that they come from', (t) => {
  const one = fc.record({
    hour: fc.integer({ min: 0, max: 200 }),
    requests: fc.integer({ min: 1, max: 5000 }),
    caller: fc.integer({ min: 0, max: 8 }),
    outcome: fc.constantFrom('ok', 'ok', 'ok', 'POLICY_DEFAULT', 'KILLED_KEY'),
  })
  fc.assert(
    fc.property(fc.array(one, { minLength: 1, maxLength: 80 }), (rows) => {
      const spans = rows
        .map(({ hour, requests, caller, outcome }) => ({
          ...span(hour, requests, {
            ...{ outcome, principal: `arn:aws:iam::111122223333:user/u-${String(caller)}` },
          }),
        }))
        .sort((a, b) => a.startsAt - b.startsAt)
      const rules = suggestRules(spans).filter(({ measure }) => measure !== 'denialPercent')
      return counts(spans, rules).length === 0
    }),
  )
  t.end()
})

void t.test('callers recorded without their names are learned again after a restart', (t) => {
  const now = (480_000 + 100) * HOUR
  const known = span(0, 5)
  const unnamed = { ...span(90, 7), subject: { ...span(90, 7).subject, isOverflow: true } }
  const until = (subjects: readonly ActivitySpan[]) =>
    toLearnUntil({ spans: [], subjects }, { now, learningMs: 24 * HOUR })('demo')
  t.equal(until([known]), known.firstAt + 24 * HOUR)
  t.equal(until([known, unnamed]), unnamed.lastAt + 24 * HOUR)
  t.equal(until([]), now + 24 * HOUR)
  t.end()
})

void t.test('requests of several logs are replayed in the order of their times', (t) => {
  const at = (times: readonly number[]) =>
    times.map((one) => ({ observation: request(), at: one }))[Symbol.iterator]()
  const merged = [...mergeByTime([at([1, 4, 9]), at([]), at([2, 3, 10])])]
  t.same(
    merged.map((one) => one.at),
    [1, 2, 3, 4, 9, 10],
  )
  const rules = [rule({ limit: 5 })]
  t.match(simulateRequests(merged, { rules, ...OPTIONS }), {
    requests: 6,
    trips: [{ certain: 1, highest: 6, firstAt: 10 }],
  })
  t.end()
})

void t.test('an entry of the audit log counts as the server counted it', (t) => {
  const entry = {
    ...{ time: '2026-01-01T00:00:00.000Z', keyStore: 'demo', keyId: 'k', operation: 'Decrypt' },
    ...{ awsPrincipalArn: 'p', accessClass: 'customer-direct', outcome: 'allowed' },
  }
  t.match(fromAuditEntry(entry), {
    at: Date.UTC(2026, 0),
    observation: { principal: 'p', accessClass: 'customer-direct', isAllowed: true },
  })
  const refused = (errorName: string, reason: string) =>
    fromAuditEntry({ ...entry, outcome: 'refused', errorName, reason })
  t.match(refused('AccessDeniedException', 'POLICY_DEFAULT'), { observation: { isAllowed: false } })
  t.equal(refused('AccessDeniedException', 'KILLED_MATCH'), undefined)
  t.equal(refused('ThrottlingException', 'TRIPWIRE'), undefined)
  t.equal(fromAuditEntry({ ...entry, isProbe: true }), undefined)
  t.end()
})
