/** Tests that the model detects each known protocol mistake, and that each documented limitation violates the claim. */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { check, CLAIM, namesOf } from '../support/spin.ts'

/** Mutants by their name in the model, each with the smallest configuration that exposes the mistake. */
const MUTANTS: Readonly<Record<string, readonly string[]>> = {
  ACK_BEFORE_CLOSED: ['INSTANCES=1'],
  ACK_IN_SAME_TURN: ['INSTANCES=1'],
  NO_SECOND_CHECK: ['INSTANCES=1'],
  WAITS_PAST_LEASE: ['INSTANCES=1'],
  LEASE_FROM_ANSWER: ['INSTANCES=1'],
  NO_WAIT: ['INSTANCES=1'],
  WAIT_FROM_REQUEST: ['INSTANCES=1'],
  LIST_BEFORE_COMMIT: ['INSTANCES=1'],
  TWO_TRANSACTIONS: ['INSTANCES=1'],
  ONE_IS_ENOUGH: ['INSTANCES=2'],
  HEIR_TRUSTS: ['INSTANCES=1', 'HEIRS=1'],
  ANY_ACK: ['INSTANCES=1', 'KILLERS=2', 'RESTORES=1'],
  IGNORES_RESTORE: ['INSTANCES=1', 'KILLERS=2', 'RESTORES=1'],
  REAPED_EARLY: ['INSTANCES=1', 'REAPER'],
  FORGED_ACK: ['INSTANCES=1', 'ATTACKER'],
  GONE_IS_LEFT: ['INSTANCES=1', 'ATTACKER'],
  SILENCE_IS_DEATH: ['INSTANCES=1', 'ATTACKER'],
}

/**
 * Known limitations that reordering steps cannot remove; see "What it does not promise" in
 * docs/internals/model/README.md.
 */
const LIMITS: Readonly<Record<string, readonly string[]>> = {
  PAUSE_WHILE_SENDING: ['INSTANCES=1'],
  CLOCK_STOPS: ['INSTANCES=1'],
  OLD_BACKUP: ['INSTANCES=1'],
}

async function finds(t: Test, name: string, world: readonly string[]): Promise<void> {
  const search = await check([name, ...world], 'small')
  t.equal(search.errors, 1, `${name} is found`)
  t.equal(search.violated, CLAIM, 'as a success after revoked')
}

void t.test('each mutant of the protocol yields a counterexample', async (t) => {
  t.same(Object.keys(MUTANTS).sort(), [...(await namesOf('mutant'))].sort(), 'none is forgotten')
  for (const [name, world] of Object.entries(MUTANTS)) await finds(t, name, world)
})

void t.test('each documented limitation is real', async (t) => {
  t.same(Object.keys(LIMITS).sort(), [...(await namesOf('limit'))].sort(), 'none is forgotten')
  for (const [name, world] of Object.entries(LIMITS)) await finds(t, name, world)
})

void t.test('the claim holds in the same configurations without a mutant', async (t) => {
  const worlds = new Set([...Object.values(MUTANTS), ...Object.values(LIMITS)].map(String))
  for (const world of worlds) {
    const search = await check(world.split(','), 'small')
    t.equal(search.errors, 0, world)
    t.ok(search.isExhaustive)
  }
})
