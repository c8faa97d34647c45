/**
 * Tests the kill switch's central guarantee. Repeatedly kills and restores access on three instances with two workers
 * each, on PostgreSQL and under load. No successful response may be sent after `revoked`. LATCHKEY_FLEET_ROUNDS=100
 * runs the long version.
 */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import type { Revocation } from '../../src/killswitch/operator/waiting-fleet.ts'
import { latchkey } from '../support/cli.ts'
import { killAll, restoreAll, startFleet, waitFor } from '../support/fleet.ts'
import { checkNothingSent, type Window } from '../support/fleet-check.ts'
import { startLoad, untilServed } from '../support/fleet-load.ts'

const ROUNDS = Number(process.env['LATCHKEY_FLEET_ROUNDS'] ?? 6)
const WORST_MS = 2000 + 500
const EVERYBODY = [0, 1, 2]

t.setTimeout(120_000 + ROUNDS * 15_000)

void t.test('no success after `revoked`, round after round', async (t) => {
  const fleet = await startFleet(t, { members: 3, workers: 2 })
  const load = await startLoad(fleet, 4)
  const startedAt = Date.now()
  await untilServed(load, EVERYBODY)
  const windows: Window[] = []
  const times: number[] = []
  const fromCommits: number[] = []
  const words = ['kill', '--all', '--reason', 'a test', '--json', '--config', fleet.configFile]
  for (let round = 0; round < ROUNDS; round++) {
    // Every fourth kill runs as a separate CLI process.
    const byCommand = round % 4 === 3
    const done = byCommand ? await latchkey(t, words) : undefined
    const revocation =
      done === undefined
        ? await waitFor(fleet, await killAll(fleet))
        : { ...(JSON.parse(done.stdout) as Revocation), fromCommitMs: undefined }
    const opened = await load.settle()
    times.push(revocation.elapsedMs)
    if (revocation.fromCommitMs !== undefined) fromCommits.push(revocation.fromCommitMs)
    t.equal(revocation.instances.length, 6)
    await new Promise((resolve) => setTimeout(resolve, 150))
    windows.push({ ...opened, to: Date.now() })
    await restoreAll(fleet)
    await untilServed(load, EVERYBODY)
  }
  await load.stop()
  const seconds = (Date.now() - startedAt) / 1000
  checkNothingSent(t, fleet, load.outcomes, windows)
  t.ok(
    windows.every(({ from, to }) =>
      load.outcomes.some(({ askedAt, status }) => askedAt > from && askedAt < to && status === 400),
    ),
    'and somebody asked in each of the windows',
  )
  const sorted = [...times].sort((a, b) => a - b)
  const median = sorted[Math.floor(sorted.length / 2)] ?? Infinity
  const worst = sorted.at(-1) ?? Infinity
  const rate = load.outcomes.length / seconds
  t.comment(
    `${String(ROUNDS)} rounds, ${rate.toFixed(0)} requests/s: median ${median.toFixed(0)} ms, worst ${worst.toFixed(0)} ms`,
  )
  // `kill` must not wait longer than this for an unresponsive instance, even on a slow machine.
  t.ok(Math.max(...fromCommits) < WORST_MS, 'from the commit, never longer than lease + 0.5 s')
  // Latency limits are meaningful only on an otherwise idle machine, so only the long version checks them.
  if (process.env['LATCHKEY_FLEET_ROUNDS'] === undefined) return
  t.ok(worst < WORST_MS, `worst time to revoke: ${worst.toFixed(0)} ms`)
  t.ok(median < 500, `median time to revoke: ${median.toFixed(0)} ms`)
})
