/**
 * Tests the guarantee behind `revoked` during failures: an instance is stopped or cut off, PostgreSQL is killed, or a
 * command is killed.
 */
// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs'
import { unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { eventually } from '../support/server.ts'
import { latchkey, startLatchkey } from '../support/cli.ts'
import { killAll, restoreAll, startFleet, untilRegistered, waitFor } from '../support/fleet.ts'
import { checkNothingSent, type Window } from '../support/fleet-check.ts'
import { startLoad, untilServed } from '../support/fleet-load.ts'
import { swallowingProxy } from '../support/swallowing-proxy.ts'
import { stopAgainAndAgain } from './stops.ts'

const LEASE_MS = 2000
const ROUNDS = process.env['LATCHKEY_FLEET_ROUNDS']
const STOPS = ROUNDS === undefined ? 1 : Math.ceil(Number(ROUNDS) / 10)
const STOPPED_MS = ROUNDS === undefined ? 1000 : 10_000
/** Maximum time after a kill's commit during which an instance may still send a successful response. */
const WORST_MS = LEASE_MS + 500
/** How long to observe the fleet after `revoked`, in milliseconds. */
const WATCHED_MS = 500
const EVERYBODY = [0, 1, 2]
const INSTANCES = 6
/** Index of the member whose connection to PostgreSQL passes through a proxy that can fall silent. */
const CUT_OFF = 1

t.setTimeout(400_000)

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

void t.test('an instance that is stopped and resumes later', (t) =>
  stopAgainAndAgain(t, {
    ...{ rounds: STOPS, members: 3, workers: 2, connections: 3 },
    ...{ stoppedMs: STOPPED_MS, worstMs: ROUNDS === undefined ? undefined : WORST_MS },
  }),
)

void t.test('failures of the store, of the connection to it, and of commands', async (t) => {
  const proxy = await swallowingProxy(t)
  const fleet = await startFleet(t, {
    members: 3,
    workers: 2,
    databasePort(member, port) {
      proxy.aim(port)
      return member === CUT_OFF ? proxy.port : port
    },
  })
  const load = await startLoad(fleet, 3)
  const windows: Window[] = []

  /**
   * Kills access during a fault that begins either before the kill or between the kill's commit and its completion.
   * @returns the number of instances whose lease expired without an acknowledgement
   */
  async function throughFault(
    t: Test,
    fault: { readonly before?: () => void; readonly after?: () => void | Promise<void> },
  ): Promise<number> {
    await untilServed(load, EVERYBODY)
    await untilRegistered(fleet, INSTANCES)
    fault.before?.()
    const written = await killAll(fleet)
    await fault.after?.()
    const { fromCommitMs, instances } = await waitFor(fleet, written)
    const opened = await load.settle()
    t.comment(`revoked ${fromCommitMs.toFixed(0)} ms after the commit`)
    if (ROUNDS !== undefined) t.ok(fromCommitMs < WORST_MS)
    await pause(WATCHED_MS)
    windows.push({ ...opened, to: Date.now() })
    return instances.filter(({ how }) => how === 'lease-ended').length
  }
  await t.test('an instance is cut off from PostgreSQL', async (t) => {
    try {
      const ended = await throughFault(t, {
        before() {
          proxy.swallow(true)
        },
      })
      // On a busy machine, other instances may also acknowledge too late.
      t.ok(ended >= 2)
      await restoreAll(fleet)
      await untilServed(
        load,
        EVERYBODY.filter((member) => member !== CUT_OFF),
      )
    } finally {
      proxy.swallow(false)
    }
  })

  await t.test('PostgreSQL is killed after the commit and restarted', async (t) => {
    await throughFault(t, { after: () => fleet.postgres.kill() })
    await fleet.postgres.start()
    await restoreAll(fleet)
  })

  await t.test('PostgreSQL hangs after the commit', async (t) => {
    await throughFault(t, {
      after() {
        fleet.postgres.freeze(true)
      },
    })
    fleet.postgres.freeze(false)
    await restoreAll(fleet)
  })

  await t.test('a command is killed between writing and waiting', async (t) => {
    await untilServed(load, EVERYBODY)
    const words = ['kill', '--all', '--reason', 'a test', '--config', fleet.configFile]
    const command = startLatchkey(t, words)
    await eventually(() => command.stderr().includes('written:'))
    await command.ended('SIGKILL')
    const again = await latchkey(t, words)
    const opened = await load.settle()
    t.match(again.stdout, /^revoked all \(switch [0-9a-f]+, already in force/)
    await pause(WATCHED_MS)
    windows.push({ ...opened, to: Date.now() })
    t.equal((await fleet.control.status(0)).switches.length, 1)
    await restoreAll(fleet)
  })

  await t.test(
    'without PostgreSQL, every instance refuses; one blocked by SIGUSR2 still does afterwards',
    async (t) => {
      await untilServed(load, EVERYBODY)
      await fleet.postgres.kill()
      const last = (member: number) => load.outcomes.filter((one) => one.member === member).at(-1)
      await eventually(() => EVERYBODY.every((one) => last(one)?.status === 400))
      const [blocked, ...others] = EVERYBODY
      const { running, configFile } = fleet.members[blocked ?? 0] ?? {}
      const sentinel = join(dirname(configFile ?? ''), 'latchkey.block')
      running?.process.kill('SIGUSR2')
      await eventually(() => existsSync(sentinel))
      await fleet.postgres.start()
      await untilServed(load, others)
      await untilRegistered(fleet, INSTANCES)
      t.equal(last(blocked ?? 0)?.status, 400)
      await unlink(sentinel)
      await untilServed(load, EVERYBODY)
    },
  )

  await load.stop()
  checkNothingSent(t, fleet, load.outcomes, windows)
  t.equal(windows.length, 4)
})
