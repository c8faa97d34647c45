/**
 * Tests that an access deadline ends access as soon as any clock has reached it, and that setting a clock back does not
 * extend access.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { createAccessDeadlines } from '../../../../src/killswitch/gate/rules.ts'

const RENEWED_AT = 1_000_000
const TTL_MS = 60_000
const DEMO = {
  keyStore: 'demo',
  renewedAt: RENEWED_AT,
  openUntil: RENEWED_AT + TTL_MS,
  ttlMs: TTL_MS,
} as const

type Leased = Parameters<ReturnType<typeof createAccessDeadlines>['update']>[0]
const leased = (over: object = {}): Leased => [{ ...DEMO, ...over }] as unknown as Leased

void t.test("the time left by the database's clock is the time left here", (t) => {
  const accessDeadlines = createAccessDeadlines()
  const at = accessDeadlines.update(leased(), { askedAt: 500, now: RENEWED_AT + 10_000 })
  t.same(at.get('demo'), { monotonicAt: 50_500, wallAt: RENEWED_AT + TTL_MS })
  t.end()
})

void t.test('a wall clock of the database that is set back gives no more time', (t) => {
  const accessDeadlines = createAccessDeadlines()
  accessDeadlines.update(leased(), { askedAt: 0, now: RENEWED_AT })
  const later = accessDeadlines.update(leased(), { askedAt: 30_000, now: RENEWED_AT - 1_000_000 })
  t.equal(later.get('demo')?.monotonicAt, TTL_MS)
  const ahead = accessDeadlines.update(leased(), { askedAt: 30_000, now: RENEWED_AT + 40_000 })
  t.equal(ahead.get('demo')?.monotonicAt, 50_000, 'setting it ahead takes time away')
  t.end()
})

void t.test(
  'a renewal starts a new period, and clears the reason for the end of the last one',
  (t) => {
    const accessDeadlines = createAccessDeadlines()
    accessDeadlines.update(leased(), { askedAt: 0, now: RENEWED_AT })
    const renewed = { renewedAt: RENEWED_AT + 30_000, openUntil: RENEWED_AT + 90_000 }
    const next = accessDeadlines.update(leased(renewed), {
      askedAt: 30_000,
      now: RENEWED_AT + 30_000,
    })
    t.same(next.get('demo'), { monotonicAt: 90_000, wallAt: RENEWED_AT + 90_000 })
    t.equal(accessDeadlines.update([], { askedAt: 30_000, now: RENEWED_AT + 30_000 }).size, 0)
    t.end()
  },
)
