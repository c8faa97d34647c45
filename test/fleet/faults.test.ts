/** The promise while something fails: an instance stopped or cut off, PostgreSQL killed, a command killed. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import t from 'tap'
import { eventually } from '../support/server.ts'
import { latchkey, startLatchkey } from '../support/cli.ts'
import { ALL, BY, checkNothingSent, startFleet, type Fleet } from '../support/fleet.ts'
import { startLoad, untilServed } from '../support/fleet-load.ts'
import { swallowingProxy } from '../support/swallowing-proxy.ts'

const LEASE_MS = 2000
/** The long form is for a machine that has nothing else to do. */
const IS_LONG = process.env['LATCHKEY_FLEET_ROUNDS'] !== undefined
const STOPPED_MS = IS_LONG ? 10_000 : 4000
const WORST_MS = LEASE_MS + (IS_LONG ? 500 : 15_000)
const PATIENCE_MS = 60_000
const EVERYBODY = [0, 1, 2]

t.setTimeout(400_000)

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** A `latchkey serve` and its workers. */
function processesOf(fleet: Fleet, member: number): readonly number[] {
  const { pid } = fleet.members[member]?.running.process ?? {}
  if (pid === undefined) throw new TypeError('no such process')
  const children = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8')
  return [pid, ...children.split(' ').filter(Boolean).map(Number)]
}

async function killAndWait(fleet: Fleet) {
  const revocation = await fleet.control.wait(await fleet.control.kill({ ...ALL, ...BY }))
  const count = (how: string) => revocation.instances.filter((one) => one.how === how).length
  return { elapsedMs: revocation.elapsedMs, count, from: Date.now() }
}

void t.test('an instance that is stopped, and goes on later', async (t) => {
  const fleet = await startFleet(t, { members: 3, workers: 2 })
  const load = await startLoad(fleet, 3)
  await untilServed(load, EVERYBODY)
  const pids = processesOf(fleet, 1)
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  const stopped = { member: 1, processes: 2, at: Date.now() }
  const { elapsedMs, count, from } = await killAndWait(fleet)
  t.ok(elapsedMs < WORST_MS, `${elapsedMs.toFixed(0)} ms`)
  t.equal(count('acknowledged'), 4)
  t.equal(count('lease-ended'), 2)
  await pause(STOPPED_MS)
  for (const pid of pids) process.kill(pid, 'SIGCONT')
  // What had been waiting in its sockets is answered now.
  const woken = Date.now()
  const isRefusing = () =>
    load.outcomes.some((one) => one.member === 1 && one.answeredAt > woken && one.status === 400)
  await eventually(isRefusing, PATIENCE_MS)
  await pause(500)
  const to = Date.now()
  await fleet.control.restore({ target: ALL, ...BY })
  await untilServed(load, EVERYBODY)
  await load.stop()
  checkNothingSent(t, fleet, load.outcomes, [{ from, to }], stopped)
})

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
  const { elapsedMs, count, from } = await killAndWait(fleet)
  t.ok(elapsedMs < WORST_MS, `${elapsedMs.toFixed(0)} ms`)
  t.equal(count('lease-ended'), 2)
  await pause(500)
  const to = Date.now()
  await fleet.control.restore({ target: ALL, ...BY })
  await untilServed(load, [0, 2])
  proxy.swallow(false)
  await untilServed(load, [1])
  await load.stop()
  checkNothingSent(t, fleet, load.outcomes, [{ from, to }])
})

void t.test('PostgreSQL killed after the commit, and started again', async (t) => {
  const fleet = await startFleet(t, { members: 3, workers: 2 })
  const load = await startLoad(fleet, 3)
  await untilServed(load, EVERYBODY)
  const written = await fleet.control.kill({ ...ALL, ...BY })
  await fleet.postgres.kill()
  const revocation = await fleet.control.wait(written)
  const from = Date.now()
  t.ok(revocation.elapsedMs < WORST_MS, `${revocation.elapsedMs.toFixed(0)} ms`)
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

  await fleet.postgres.kill()
  const last = (member: number) => load.outcomes.filter((one) => one.member === member).at(-1)
  await eventually(() => EVERYBODY.every((one) => last(one)?.status === 400), PATIENCE_MS)
  await fleet.postgres.start()
  await untilServed(load, EVERYBODY)
  await load.stop()
  checkNothingSent(t, fleet, load.outcomes, [{ from, to }])
})

void t.test('a command that is killed between writing and waiting', async (t) => {
  const fleet = await startFleet(t, { members: 3, workers: 2 })
  const load = await startLoad(fleet, 3)
  await untilServed(load, EVERYBODY)
  const words = ['kill', '--all', '--reason', 'a test', '--config', fleet.configFile]
  const command = startLatchkey(t, words)
  await eventually(() => command.stderr().includes('written:'), PATIENCE_MS)
  await command.ended('SIGKILL')
  const again = await latchkey(t, words)
  const from = Date.now()
  t.match(again.stdout, /^revoked all \(switch [0-9a-f]+, in force before/)
  await pause(300)
  const to = Date.now()
  await load.stop()
  checkNothingSent(t, fleet, load.outcomes, [{ from, to }])
  t.equal((await fleet.control.status(0)).switches.length, 1)
})
