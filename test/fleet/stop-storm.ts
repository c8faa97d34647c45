/**
 * Measures how often a process is stopped between the last gate check and the write. Run by hand:
 *
 *     node .test-build/test/fleet/stop-storm.js
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { stopAgainAndAgain } from './stops.ts'

const ROUNDS = Number(process.env['LATCHKEY_FLEET_ROUNDS'] ?? 100)
const LEASE_MS = 500

t.setTimeout(120_000 + ROUNDS * 10_000)

void t.test('stopped repeatedly under load', (t) =>
  stopAgainAndAgain(t, {
    ...{ rounds: ROUNDS, members: 1, workers: 2, connections: 8 },
    ...{ lease: `${String(LEASE_MS)}ms`, stoppedMs: 300, worstMs: LEASE_MS + 500 },
  }),
)
