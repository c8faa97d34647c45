/** `tripwire`: limits that normal use does not exceed, and what happens when they are exceeded. */
// SPDX-License-Identifier: Apache-2.0
import { list, object, optional } from '../setting.ts'
import { choice, duration, integer, text } from '../settings.ts'

const DAY_MS = 86_400_000

const rule = object('A rule.', {
  name: text('Name of the rule, for the log, metrics and the reason of a kill.', {
    pattern: '^[a-z0-9][a-z0-9-]{0,63}$',
    patternErrorMessage: 'lower-case letters, digits and hyphens',
    examples: ['payroll-bulk'],
  }),
  keyStore: optional(text('Key store that the rule watches. Default: all.')),
  key: optional(text('Key id that the rule watches; needs `keyStore`. Default: all.')),
  per: choice(
    ['principal', 'key', 'key-store'],
    'What is counted separately. Sessions of a role count as one principal.',
    'principal',
  ),
  measure: choice(
    ['decrypts', 'denialPercent', 'newPrincipals', 'newAccessClasses'],
    'decrypts: answered Decrypts, so a short window limits the rate and a long one the volume. denialPercent: share of requests that policies denied, or that named no known key or no valid ciphertext. newPrincipals: callers that never used the key store or key. newAccessClasses: classes of access that were never seen.',
    'decrypts',
  ),
  limit: integer('Largest value that is still normal, over the whole fleet.', {
    minimum: 0,
    maximum: 1_000_000_000,
  }),
  window: duration('Period over which the rule measures.', '10m', [1000, DAY_MS]),
  atLeast: integer('denialPercent: number of requests below which the share is not judged.', {
    minimum: 1,
    maximum: 1_000_000,
    default: 50,
  }),
  action: choice(
    ['log', 'throttle', 'kill'],
    'log: log line, metric and event. throttle: also ThrottlingException for one window. kill: also a kill switch, as with `latchkey kill`. The last two need `tripwire.mode: enforce`.',
    'log',
  ),
  direction: choice(
    ['decrypt', 'both'],
    'What throttle and kill stop: Decrypt only, or Encrypt as well.',
    'decrypt',
  ),
})

export const tripwire = object('Limits that stop a caller who reads too much (docs/tripwire.md).', {
  mode: choice(
    ['rehearse', 'enforce'],
    'rehearse: a broken rule is logged and counted, whatever its action. enforce: its action is carried out.',
    'rehearse',
  ),
  rules: list('The rules. Without one, nothing is watched.', rule, { default: [], maxItems: 100 }),
  learning: duration(
    'How long the callers of a key store are learned, counted from its first recorded request, before new ones can break a rule. It also applies to callers and keys that a rule may have forgotten.',
    '7d',
    [0, 90 * DAY_MS],
  ),
  maxSubjects: integer(
    'Number of callers or keys that each rule remembers in one process. Beyond it, the rule forgets the least recently active one.',
    { minimum: 100, maximum: 1_000_000, default: 10_000 },
  ),
})
