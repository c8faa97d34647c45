/**
 * Tests the promise of `revoked` during failures: an instance stopped or cut off, PostgreSQL
 * killed, or a command killed.
 */
// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs'
import { unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { eventually } from '../support/server.ts'
import { latchkey, startLatchkey } from '../support/cli.ts'
import { ALL, BY, startFleet, untilRegistered, waitFor } from '../support/fleet.ts'
import { checkNothingSent, type Window } from '../support/fleet-check.ts'
import { startLoad, untilServed } from '../support/fleet-load.ts'
import { swallowingProxy } from '../support/swallowing-proxy.ts'
import { stopAgainAndAgain } from './stops.ts'

const LEASE_MS = 2000
const ROUNDS = process.env['LATCHKEY_FLEET_ROUNDS']
const STOPS = ROUNDS === undefined ? 1 : Math.ceil(Number(ROUNDS) / 10)
const STOPPED_MS = ROUNDS === undefined ? 1000 : 10_000
/** Counted from the commit; by then no instance may send anything. */
const WORST_MS = LEASE_MS + 500
const PATIENCE_MS = 60_000
/** How long to watch after `revoked`. */
const WATCHED_MS = 500
const EVERYBODY = [0, 1, 2]
const INSTANCES = 6
/** The member whose connection to PostgreSQL can be made to swallow everything. */
const CUT_OFF = 1

t.setTimeout(400_000)

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

void t.test('an instance that is stopped and resumes later', (t) =>
  stopAgainAndAgain(t, {
    ...{ rounds: STOPS, members: 3, workers: 2, connections: 3 },
    ...{ stoppedMs: STOPPED_MS, worstMs: WORST_MS },
  }),
)

void t.test('faults of the store, of the way to it, and of commands', async (t) => {
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
   * Kills access with something failing before the kill or between its commit and its end.
   * @returns how many lost their lease
   */
  async function throughFault(
    t: Test,
    fault: { readonly before?: () => void; readonly after?: () => void | Promise<void> },
  ): Promise<number> {
    await untilServed(load, EVERYBODY)
    await untilRegistered(fleet, INSTANCES)
    fault.before?.()
    const written = await fleet.control.kill({ ...ALL, ...BY })
    await fault.after?.()
    const { fromCommitMs, instances } = await waitFor(fleet, written)
    const opened = await load.settle()
    t.ok(fromCommitMs < WORST_MS, `${fromCommitMs.toFixed(0)} ms`)
    await pause(WATCHED_MS)
    windows.push({ ...opened, to: Date.now() })
    return instances.filter(({ how }) => how === 'lease-ended').length
  }
  const restore = () =>
    fleet.control.restore({ target: ALL, ...BY }).then(
      () => true,
      () => false,
    )

  await t.test('an instance that is cut off from PostgreSQL', async (t) => {
    const ended = await throughFault(t, {
      before() {
        proxy.swallow(true)
      },
    })
    t.equal(ended, 2)
    t.ok(await restore())
    await untilServed(
      load,
      EVERYBODY.filter((member) => member !== CUT_OFF),
    )
    proxy.swallow(false)
  })

  await t.test('PostgreSQL that is killed after the commit, and started again', async (t) => {
    await throughFault(t, { after: () => fleet.postgres.kill() })
    await fleet.postgres.start()
    await eventually(restore, PATIENCE_MS)
  })

  await t.test('PostgreSQL that stands still after the commit', async (t) => {
    await throughFault(t, {
      after() {
        fleet.postgres.freeze(true)
      },
    })
    fleet.postgres.freeze(false)
    await eventually(restore, PATIENCE_MS)
  })

  await t.test('a command that is killed between writing and waiting', async (t) => {
    await untilServed(load, EVERYBODY)
    const words = ['kill', '--all', '--reason', 'a test', '--config', fleet.configFile]
    const command = startLatchkey(t, words)
    await eventually(() => command.stderr().includes('written:'), PATIENCE_MS)
    await command.ended('SIGKILL')
    const again = await latchkey(t, words)
    const opened = await load.settle()
    t.match(again.stdout, /^revoked all \(switch [0-9a-f]+, in force before/)
    await pause(WATCHED_MS)
    windows.push({ ...opened, to: Date.now() })
    t.equal((await fleet.control.status(0)).switches.length, 1)
    t.ok(await restore())
  })

  await t.test(
    'without PostgreSQL every instance refuses; one that received SIGUSR2 still refuses when it is back',
    async (t) => {
      await untilServed(load, EVERYBODY)
      await fleet.postgres.kill()
      const last = (member: number) => load.outcomes.filter((one) => one.member === member).at(-1)
      await eventually(() => EVERYBODY.every((one) => last(one)?.status === 400), PATIENCE_MS)
      const [blocked, ...others] = EVERYBODY
      const { running, configFile } = fleet.members[blocked ?? 0] ?? {}
      const sentinel = join(dirname(configFile ?? ''), 'latchkey.block')
      running?.process.kill('SIGUSR2')
      await eventually(() => existsSync(sentinel), PATIENCE_MS)
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
