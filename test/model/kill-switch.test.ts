/** Model-checks the kill switch protocol exhaustively; see docs/internals/model/README.md. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { check, CLAIM, namesOf } from '../support/spin.ts'

/**
 * Configurations of the model. There are several, because a single one with every feature would have too many states.
 */
const WORLDS: Readonly<Record<string, readonly string[]>> = {
  'three instances and an heir': ['INSTANCES=3', 'LEASE=1', 'HEIRS=1', 'SERVING=1'],
  'restores at any moment': ['INSTANCES=2', 'LEASE=1', 'HEIRS=1', 'RESTORES=1'],
  'a longer lease': ['INSTANCES=2', 'LEASE=2', 'HEIRS=1'],
  'a much longer lease': ['INSTANCES=1', 'LEASE=4', 'HEIRS=1', 'RESTORES=1'],
  'two killers, and restores between them': ['INSTANCES=1', 'LEASE=2', 'KILLERS=2', 'RESTORES=2'],
  'suspended while sending, and guarded by the kernel': [
    'INSTANCES=2',
    'LEASE=2',
    'HEIRS=1',
    'PAUSE_WHILE_SENDING',
    'GUARDED',
  ],
  'rows are removed while a killer counts them': ['INSTANCES=2', 'LEASE=2', 'REAPER'],
  'an attacker writes to the database': ['INSTANCES=2', 'LEASE=2', 'SERVING=1', 'ATTACKER'],
}

for (const [world, definitions] of Object.entries(WORLDS)) {
  void t.test(`no success after revoked: ${world}`, async (t) => {
    const search = await check(definitions, 'large')
    t.equal(search.errors, 0, 'no counterexample')
    t.ok(search.isExhaustive, 'every state was visited')
    t.ok(search.states > 50_000, `${String(search.states)} states`)
    t.same(search.unreached, [], 'no line of the model is dead')
    t.comment(`${String(search.states)} states, depth ${String(search.depth)}`)
  })
}

/**
 * States that must be reachable. If they were not, the claim could hold trivially, for example because the proxy never
 * serves a request.
 */
const REACHABLE: Readonly<Record<string, readonly string[]>> = {
  REVOKES: ['HEIRS=1'],
  HEIR_REVOKES: ['HEIRS=1'],
  SERVES_AGAIN: ['RESTORES=1'],
}

void t.test(
  'the model is not empty: killers print revoked, and a restore opens the gate again',
  async (t) => {
    t.same(Object.keys(REACHABLE).sort(), [...(await namesOf('reachable'))].sort())
    for (const [name, world] of Object.entries(REACHABLE)) {
      const search = await check([name, ...world], 'small')
      t.equal(search.errors, 1, name)
      t.not(search.violated, CLAIM, 'by the assertion that marks the place')
    }
  },
)
