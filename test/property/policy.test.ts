/**
 * Tests with random policies and requests that caching, slicing and trimming never change a decision: each decision
 * must equal that of a direct Cedar call.
 */
// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check'
import t from 'tap'
import { createEngine, decidePlainly } from '../../src/policy/engine.ts'
import { policyArbitraries } from '../support/policy-arbitraries.ts'
import { policySet } from '../support/policy.ts'

t.setTimeout(200_000)

/** Number of policy sets. `test/by-hand/policy-million.ts` runs any number of requests. */
const SETS = 40
const REQUESTS_OF_A_SET = 25

void t.test('no decision differs from a direct Cedar call', async (t) => {
  const { documents, request } = policyArbitraries
  let asked = 0
  let kept = 0
  await fc.assert(
    fc.asyncProperty(
      documents,
      fc.array(request, { minLength: REQUESTS_OF_A_SET, maxLength: REQUESTS_OF_A_SET }),
      async (texts, requests) => {
        const set = await policySet(texts)
        const engine = createEngine(set)
        // Decide each request twice, so that the second decision comes from the cache.
        for (const one of [...requests, ...requests]) {
          const found = JSON.stringify(engine.decide(one))
          const plain = JSON.stringify(decidePlainly(set, one))
          if (found !== plain) throw new Error(`${found} instead of ${plain}`)
          asked += 1
        }
        kept += engine.stats.kept
        engine.close()
      },
    ),
    { numRuns: SETS },
  )
  t.equal(asked, SETS * REQUESTS_OF_A_SET * 2)
  t.ok(kept > asked / 4, `${String(kept)} of ${String(asked)} decisions were kept ones`)
})
