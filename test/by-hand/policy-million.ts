/**
 * Compares the policy engine with a direct Cedar call on COUNT random requests. Exits with code 1 on the first
 * difference.
 *
 *     node .test-build/test/by-hand/policy-million.js [COUNT] [SEED]
 */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import { createEngine, decidePlainly } from '../../src/policy/engine.ts'
import { policyArbitraries } from '../support/policy-arbitraries.ts'
import { policySet } from '../support/policy.ts'

const [count = '1000000', seed = '1'] = process.argv.slice(2)
const { documents, request } = policyArbitraries
const REQUESTS_OF_A_SET = 1000
const sets = Math.ceil(Number(count) / REQUESTS_OF_A_SET)
let asked = 0
let kept = 0
let denied = 0
for (const [i, texts] of fc.sample(documents, { numRuns: sets, seed: Number(seed) }).entries()) {
  const set = await policySet(texts)
  const engine = createEngine(set)
  set.cedar.prepare('whole', Object.fromEntries(set.policies.map(({ id, text }) => [id, text])))
  for (const one of fc.sample(request, { numRuns: REQUESTS_OF_A_SET, seed: Number(seed) + i })) {
    const found = engine.decide(one)
    const plain = decidePlainly(set, one, 'whole')
    asked += 1
    if (plain.denial !== undefined) denied += 1
    if (JSON.stringify(found) === JSON.stringify(plain)) continue
    process.stdout.write(`${JSON.stringify({ texts, request: one, found, plain }, undefined, 1)}\n`)
    process.exit(1)
  }
  kept += engine.stats.kept
  engine.close()
}
process.stdout.write(
  `${String(asked)} requests of ${String(sets)} sets, ${String(denied)} denied, ${String(kept)} parts from what was kept: no difference\n`,
)
