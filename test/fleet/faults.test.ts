/** The promise while something fails: an instance stopped or cut off, PostgreSQL killed, a command killed. */
// SPDX-License-Identifier: Apache-2.0
import t from 'tap'
import { eventually } from '../support/server.ts'
import { latchkey, startLatchkey } from '../support/cli.ts'
import { ALL, BY, checkNothingSent, startFleet, waitFor, type Fleet } from '../support/fleet.ts'
import { startLoad, untilServed, type Load } from '../support/fleet-load.ts'
import { swallowingProxy } from '../support/swallowing-proxy.ts'
import { stopAgainAndAgain } from './stops.ts'

const LEASE_MS = 2000
const ROUNDS = process.env['LATCHKEY_FLEET_ROUNDS']
const STOPS = ROUNDS === undefined ? 1 : Math.ceil(Number(ROUNDS) / 10)
const STOPPED_MS = ROUNDS === undefined ? 1000 : 10_000
/** From the commit: everything that an instance may still do is over by then. */
const WORST_MS = LEASE_MS + 500
const PATIENCE_MS = 60_000
const EVERYBODY = [0, 1, 2]

t.setTimeout(400_000)

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function killAndWait(fleet: Fleet, load: Load) {
  const revocation = await waitFor(fleet, await fleet.control.kill({ ...ALL, ...BY }))
  const opened = await load.settle()
  const count = (how: string) => revocation.instances.filter((one) => one.how === how).length
  return { ...revocation, count, opened }
}

void t.test('an instance that is stopped, and goes on later', (t) =>
  stopAgainAndAgain(t, {
    ...{ rounds: STOPS, members: 3, workers: 2, connections: 3 },
    ...{ stoppedMs: STOPPED_MS, worstMs: WORST_MS },
  }),
)

void t.test('an instance that is cut off from PostgreSQL', async (t) => {
  const proxy = await swallowingProxy(t)
  const fleet = await startFleet(t, {
    members: 3,
    workers: 2,
    databasePort(member, port) {
      proxy.aim(port)
      return member === 1 ? proxy.port : port
    },
  })
  const load = await startLoad(fleet, 3)
  await untilServed(load, EVERYBODY)
  proxy.swallow(true)
  const { fromCommitMs, count, opened } = await killAndWait(fleet, load)
  t.ok(fromCommitMs < WORST_MS, `${fromCommitMs.toFixed(0)} ms`)
  t.equal(count('lease-ended'), 2)
  await pause(500)
  const to = Date.now()
  await fleet.control.restore({ target: ALL, ...BY })
  await untilServed(load, [0, 2])
  proxy.swallow(false)
  await untilServed(load, [1])
  await load.stop()
  checkNothingSent(t, fleet, load.outcomes, [{ ...opened, to }])
})

void t.test(
  'PostgreSQL killed after the commit, started again, and standing still after another',
  async (t) => {
    const fleet = await startFleet(t, { members: 3, workers: 2 })
    const load = await startLoad(fleet, 3)
    await untilServed(load, EVERYBODY)
    const written = await fleet.control.kill({ ...ALL, ...BY })
    await fleet.postgres.kill()
    const { fromCommitMs } = await waitFor(fleet, written)
    const opened = await load.settle()
    t.ok(fromCommitMs < WORST_MS, `${fromCommitMs.toFixed(0)} ms`)
    await pause(500)
    await fleet.postgres.start()
    await pause(1000)
    const to = Date.now()
    const restore = () =>
      fleet.control.restore({ target: ALL, ...BY }).then(
        () => true,
        () => false,
      )
    await eventually(restore, PATIENCE_MS)
    await untilServed(load, EVERYBODY)

    const second = await fleet.control.kill({ ...ALL, ...BY })
    fleet.postgres.freeze(true)
    const frozen = await waitFor(fleet, second)
    const openedAgain = await load.settle()
    t.ok(
      frozen.fromCommitMs < WORST_MS,
      `${frozen.fromCommitMs.toFixed(0)} ms, with a store that hangs`,
    )
    await pause(300)
    const toAgain = Date.now()
    fleet.postgres.freeze(false)
    await eventually(restore, PATIENCE_MS)
    await untilServed(load, EVERYBODY)

    await fleet.postgres.kill()
    const last = (member: number) => load.outcomes.filter((one) => one.member === member).at(-1)
    await eventually(() => EVERYBODY.every((one) => last(one)?.status === 400), PATIENCE_MS)
    await fleet.postgres.start()
    await untilServed(load, EVERYBODY)
    await load.stop()
    checkNothingSent(t, fleet, load.outcomes, [
      { ...opened, to },
      { ...openedAgain, to: toAgain },
    ])
  },
)

void t.test('a command that is killed between writing and waiting', async (t) => {
  const fleet = await startFleet(t, { members: 3, workers: 2 })
  const load = await startLoad(fleet, 3)
  await untilServed(load, EVERYBODY)
  const words = ['kill', '--all', '--reason', 'a test', '--config', fleet.configFile]
  const command = startLatchkey(t, words)
  await eventually(() => command.stderr().includes('written:'), PATIENCE_MS)
  await command.ended('SIGKILL')
  const again = await latchkey(t, words)
  const opened = await load.settle()
  t.match(again.stdout, /^revoked all \(switch [0-9a-f]+, in force before/)
  await pause(300)
  const to = Date.now()
  await load.stop()
  checkNothingSent(t, fleet, load.outcomes, [{ ...opened, to }])
  t.equal((await fleet.control.status(0)).switches.length, 1)
})
