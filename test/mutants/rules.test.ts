/** Mutation tests for the gate's rules, including metadata matching. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { killAll } from '../support/mutation/mutation.ts'

const testsOf = (...names: readonly string[]) =>
  names.map((name) => `unit/killswitch/gate/${name}.test.ts`)

/** Functions in rules.ts that compare a request's metadata with a switch. */
const MATCHING = new Set(['createMatcher', 'isOfAccount', 'isFrom', 'matches'])

const NO_BITS = 'undefined counts as 0 in a calculation with bits'
const NO_KEY = 'a scope other than that of a key has no key id'
const ANY_NAME = 'a switch for everything blocks every key store'
const NOT_NEEDED = 'only saves the work where there are no switches'

t.setTimeout(200_000)

void t.test('the tests detect every mistake in the rules', async (t) => {
  await killAll(t, {
    module: 'src/killswitch/gate/rules.ts',
    tests: testsOf('gate', 'gate-stats', 'access-deadlines'),
    appliesTo: (name) => !MATCHING.has(name),
    atLeast: 70,
    exceptions: [
      {
        where: 'the module',
        name: 'a number is another: 0',
        node: 'SLICE = 500',
        reason: 'it changes only the pauses, which unit/store/turns.test.ts bounds',
      },
      {
        where: 'createIndex',
        name: 'a property is left out',
        node: 'all: 0',
        reason: NO_BITS,
      },
      {
        where: 'isBlocked',
        name: 'a text is another: "key"',
        node: "scope.kind === 'all' ? '' : scope.keyStore",
        reason: ANY_NAME,
      },
      {
        where: 'isBlocked',
        name: 'a condition is fixed: true',
        node: "scope.kind === 'key'",
        reason: NO_KEY,
      },
      {
        where: 'isBlocked',
        name: 'a condition is fixed: false',
        node: 'keyId === undefined',
        reason: 'no key is called undefined',
      },
      {
        where: 'bitsOfKey',
        name: 'a condition is fixed: false',
        node: 'keyId === undefined',
        reason: 'no key is called undefined',
      },
      {
        where: 'bitsOfKey',
        name: 'an operand is left out',
        node: 'keys.get(keyStore)?.get(keyId) ?? 0',
        reason: NO_BITS,
      },
      {
        where: 'refusal',
        name: 'an operand is left out',
        node: 'stores.get(subject.keyStore) ?? 0',
        reason: NO_BITS,
      },
      {
        where: 'add',
        name: 'an operand is left out',
        node: 'bits.get(name) ?? 0',
        reason: NO_BITS,
      },
      {
        where: 'refusal',
        name: 'a condition is fixed: false',
        node: 'size === 0',
        reason: NOT_NEEDED,
      },
      {
        where: 'isKeyBlocked',
        name: 'an operand is left out',
        node: 'size > 0 && (bitsOfKey(subject) & LOOK) !== 0',
        reason: NOT_NEEDED,
      },
      {
        where: 'isKeyBlocked',
        name: 'a comparison is another',
        node: 'size > 0',
        reason: NOT_NEEDED,
      },
    ],
  })
})

void t.test('the tests detect every mistake in metadata matching', async (t) => {
  await killAll(t, {
    module: 'src/killswitch/gate/rules.ts',
    tests: testsOf('match'),
    appliesTo: (name) => MATCHING.has(name),
    atLeast: 60,
    exceptions: [
      {
        where: 'matches',
        name: 'a number is another',
        node: 'from = 0',
        reason: 'it is written before it is read',
      },
      {
        where: 'matches',
        name: 'an operand is left out',
        node: "p < pattern.length && (pattern[p] === '?' || pattern[p] === text[i])",
        reason: 'behind its end a pattern has undefined, which is no character of the text',
      },
      {
        where: 'matches',
        name: 'a comparison is another',
        node: 'p < pattern.length',
        reason: 'likewise',
      },
      {
        where: 'matches',
        name: 'a number is another',
        node: 'star + 1',
        reason: 'the star is read once more, with the same result',
      },
    ],
  })
})
