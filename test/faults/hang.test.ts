/** Runs a short version of the hang test at a low rate; `long.ts` runs the full version. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { hang } from './hang.ts'

t.setTimeout(120_000)

void t.test('an HSM that hangs costs KMS no more than its deadline, and recovers', (t) =>
  hang(t, { hangMs: 4000, requestsPerSecond: 20, budgetMs: 250, recoveryMs: 4000 }),
)
