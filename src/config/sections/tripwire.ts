/**
 * Defines the section `tripwire`: limits that normal use does not exceed, and what happens when
 * they are exceeded.
 */
// SPDX-License-Identifier: Apache-2.0
import { list, object, optional } from '../setting.ts'
import { choice, duration, integer, text } from '../settings.ts'

const DAY_MS = 86_400_000

const rule = object('A rule.', {
  name: text('Name of the rule, as shown in the log, in metrics and in the reason for a kill.', {
    pattern: '^[a-z0-9][a-z0-9-]{0,63}$',
    patternErrorMessage: 'lower-case letters, digits and hyphens',
    examples: ['payroll-bulk'],
  }),
  keyStore: optional(text('Key store that the rule watches. Default: all key stores.')),
  key: optional(
    text('Id of the key that the rule watches. Requires `keyStore`. Default: all keys.'),
  ),
  per: choice(
    ['principal', 'key', 'key-store'],
    'Unit that the rule counts separately. All sessions of a role count as one principal.',
    'principal',
  ),
  measure: choice(
    ['decrypts', 'denialPercent', 'newPrincipals', 'newAccessClasses'],
    'Value that the rule compares with its limit. decrypts: number of successful Decrypts; a short window limits the rate, and a long window limits the volume. denialPercent: percentage of requests that policies denied, or that named an unknown key or an invalid ciphertext. newPrincipals: number of callers that use the key store or key for the first time. newAccessClasses: number of access classes that occur for the first time.',
    'decrypts',
  ),
  limit: integer(
    'Highest value that is still normal, for the entire fleet. A higher value breaks the rule.',
    {
      minimum: 0,
      maximum: 1_000_000_000,
    },
  ),
  window: duration('Period over which the rule measures.', '10m', [1000, DAY_MS]),
  atLeast: integer(
    'For denialPercent: minimum number of requests in the window. With fewer requests, the rule cannot be broken.',
    {
      minimum: 1,
      maximum: 1_000_000,
      default: 50,
    },
  ),
  action: choice(
    ['log', 'throttle', 'kill'],
    'What Latchkey does when the rule is broken. log: write a log line, update a metric and record an event. throttle: also respond with ThrottlingException for one window. kill: also create a kill switch, as `latchkey kill` does. throttle and kill require `tripwire.mode: enforce`.',
    'log',
  ),
  direction: choice(
    ['decrypt', 'both'],
    'Operations that the actions throttle and kill block. decrypt: Decrypt only. both: Decrypt and Encrypt.',
    'decrypt',
  ),
})

export const tripwire = object(
  'Rules that detect callers who read more than usual, and can stop them (docs/tripwire.md).',
  {
    mode: choice(
      ['rehearse', 'enforce'],
      'rehearse: a broken rule is only logged, counted and recorded as an event, whatever its action. enforce: the action of a broken rule is carried out.',
      'rehearse',
    ),
    rules: list('Tripwire rules. Without rules, the tripwire is off.', rule, {
      default: [],
      maxItems: 100,
    }),
    learning: duration(
      'Learning period of a key store, starting at its first recorded request. During this period, new callers do not break a rule. The same period applies to callers and keys that a rule may have forgotten.',
      '7d',
      [0, 90 * DAY_MS],
    ),
    maxSubjects: integer(
      'Maximum number of callers or keys that each rule remembers in one process. When a rule reaches this number, it forgets the least recently active caller or key.',
      { minimum: 100, maximum: 1_000_000, default: 10_000 },
    ),
  },
)
