/** Runs a short version of the storm; `long.ts` runs the full version. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { storm } from './storm.ts'

t.setTimeout(120_000)

void t.test('sessions are dropped under 64 connections, and nothing is wrong or lost', (t) =>
  storm(t, {
    ...{ requests: 2000, connections: 64, dropEveryMs: 500, maxErrorShare: 0.001 },
    isPatient: true,
  }),
)
