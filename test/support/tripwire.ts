/** Rules, requests and labeled traffic for tripwire tests. */
// SPDX-License-Identifier: Apache-2.0
import type { Observation } from '../../src/tripwire/detector.ts'
import type { TripwireRule } from '../../src/tripwire/rule.ts'

export function rule(more: Partial<TripwireRule> = {}): TripwireRule {
  return {
    ...{ name: 'bulk', per: 'principal', measure: 'decrypts', limit: 100, windowMs: 60_000 },
    ...{ atLeast: 10, action: 'log', direction: 'decrypt' },
    ...more,
  } as const
}

export function request(more: Partial<Observation> = {}): Observation {
  return {
    ...{ keyStore: 'demo', keyId: 'k', operation: 'Decrypt', isAllowed: true },
    principal: 'arn:aws:sts::111122223333:assumed-role/app/i-1',
    accessClass: 'customer-by-service',
    ...more,
  }
}

/** Returns a function that generates pseudorandom numbers between 0 and 1. */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
}

/** Rules that an operator would write for the normal load below. */
export const RULES: readonly TripwireRule[] = [
  rule({ name: 'rate', limit: 600, windowMs: 10_000, action: 'kill' }),
  rule({ name: 'volume', per: 'key-store', limit: 200_000, windowMs: 600_000, action: 'kill' }),
  rule({
    ...{ name: 'new-callers', per: 'key-store', measure: 'newPrincipals', limit: 5 },
    ...{ windowMs: 600_000, action: 'kill' },
  }),
  rule({
    ...{ name: 'new-access', per: 'key-store', measure: 'newAccessClasses', limit: 0 },
    ...{ windowMs: 600_000, action: 'kill' },
  }),
  rule({ name: 'denials', measure: 'denialPercent', limit: 50, atLeast: 50, action: 'kill' }),
]

const SERVICES = 40
const PER_SECOND = 200

/**
 * Yields normal requests: forty services that keep opening sessions, bursts from one service that reach at most a fifth
 * of the limit, one new service per day, and one denial per hundred requests.
 */
export function* normalLoad(
  count: number,
  random = createRandom(7),
): Generator<{ readonly observation: Observation; readonly at: number }> {
  let at = 1_000_000
  for (let i = 0; i < count; i++) {
    at += (1000 / PER_SECOND) * 2 * random()
    const isBurst = Math.floor(at / 60_000) % 10 === 0 && random() < 0.05
    const service = isBurst ? 0 : Math.floor(random() * SERVICES)
    const session = Math.floor(random() * 1000)
    yield {
      at,
      observation: request({
        keyId: `k-${String(service % 4)}`,
        operation: random() < 0.8 ? 'Decrypt' : 'Encrypt',
        principal: `arn:aws:sts::111122223333:assumed-role/service-${String(service)}/i-${String(session)}`,
        isAllowed: random() >= 0.01,
      }),
    }
  }
}

/** Attacks, each keyed by the name of the rule that must detect it. */
export const ATTACKS: Readonly<Record<string, (i: number) => Observation>> = {
  rate: () => request({ principal: 'arn:aws:sts::111122223333:assumed-role/service-3/thief' }),
  'new-callers': (i) => request({ principal: `arn:aws:iam::111122223333:user/thief-${String(i)}` }),
  'new-access': () =>
    request({
      principal: 'arn:aws:sts::111122223333:assumed-role/service-3/i-1',
      accessClass: 'customer-direct',
    }),
  denials: () =>
    request({
      principal: 'arn:aws:sts::111122223333:assumed-role/service-39/i-1',
      isAllowed: false,
    }),
}
