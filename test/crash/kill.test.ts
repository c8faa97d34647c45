/**
 * Kills the `kill` and `restore` commands at random times. The store must then hold either the old or the new state,
 * with matching events.
 */
// SPDX-License-Identifier: Apache-2.0
import t, { type Test } from 'tap'
import { openKillSwitch } from '../../src/app/kill-switch.ts'
import { loadConfig } from '../../src/config/load.ts'
import { type Workspace, latchkey, startLatchkey, workspace } from '../support/cli.ts'
import { startPostgres } from '../support/postgres.ts'

/** Number of rounds per engine. */
const ROUNDS = 8
const MOST_ROUNDS = 40

t.setTimeout(180_000)

void t.test('kill and restore killed at random times: SQLite', async (t) =>
  killAgainAndAgain(t, await workspace(t)),
)

void t.test('kill and restore killed at random times: PostgreSQL', async (t) => {
  const { host, port, database, user } = (await startPostgres(t)).target
  const postgres = { host, port, database, user, tls: { mode: 'off' } }
  const store = { postgres, masterKey: { file: 'master.key' } }
  await killAgainAndAgain(t, await workspace(t, { settings: { store } }))
})

async function killAgainAndAgain(t: Test, place: Workspace): Promise<void> {
  const control = await openKillSwitch(await loadConfig(place.configFile, {}))
  t.teardown(() => control.close())
  // Measure how long the command takes on this machine; process startup takes most of it.
  const startedAt = performance.now()
  const whole = ['kill', '--no-wait', '--all', '--reason', 'r', '--config', place.configFile]
  t.match(await latchkey(t, whole), { code: 0 })
  const wholeMs = performance.now() - startedAt
  let before = await control.status(1000)
  let changes = 0
  /**
   * Fraction of the measured time after which a command is killed. It grows if the command was killed too early, and
   * shrinks if the command had finished, so that commands are killed close to the commit.
   */
  let share = 0.8
  for (let round = 0; round < ROUNDS || (changes === 0 && round < MOST_ROUNDS); round++) {
    const isKill = before.switches.length === 0
    const words = isKill ? ['kill', '--no-wait'] : ['restore', '--yes']
    const command = startLatchkey(t, [
      ...[...words, '--all', '--reason', `round ${String(round)}`],
      ...['--config', place.configFile],
    ])
    await new Promise((resolve) => setTimeout(resolve, wholeMs * share))
    await command.ended('SIGKILL')
    // Reading the status verifies all sealed rows and every event.
    const after = await control.status(1000)
    const isDone = after.epoch !== before.epoch
    share *= isDone ? 0.85 : 1.15
    t.equal(after.switches.length, isDone === isKill ? 1 : 0)
    t.equal(after.events.length, before.events.length + (isDone ? 1 : 0))
    if (isDone) {
      changes += 1
      t.equal(after.epoch, before.epoch + 1)
      t.match(after.events[0], {
        kind: isKill ? 'kill' : 'restore',
        epoch: after.epoch,
        detail: { reason: `round ${String(round)}` },
      })
    } else t.same(after, before, 'not a row is another')
    before = after
  }
  t.ok(changes > 0, 'some of them were done')
  t.comment(`${String(changes)} commands were done when they were killed`)
}
