/**
 * Stops an instance under load repeatedly. When it resumes, it must not send what it had not sent
 * before.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import type { Test } from 'tap'
import { eventually } from '../support/server.ts'
import {
  ALL,
  BY,
  startFleet,
  untilRegistered,
  waitFor,
  type Fleet,
  type FleetOptions,
} from '../support/fleet.ts'
import { checkNothingSent, type Stopped, type Window } from '../support/fleet-check.ts'
import { startLoad, untilServed, type Load } from '../support/fleet-load.ts'

export interface StopPlan extends FleetOptions {
  readonly rounds: number
  /** Time from `revoked` until it resumes. */
  readonly stoppedMs: number
  /** Connections to each member. */
  readonly connections: number
  /** Maximum allowed time to revoke. */
  readonly worstMs: number
}

const PATIENCE_MS = 60_000
/** How long to watch after it has resumed and before access is restored. */
const WATCHED_MS = 300

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Stops the last member. */
export async function stopAgainAndAgain(t: Test, plan: StopPlan): Promise<void> {
  const fleet = await startFleet(t, plan)
  const load = await startLoad(fleet, plan.connections)
  const everybody = fleet.members.map((_, member) => member)
  const windows: Window[] = []
  const stops: Stopped[] = []
  const times: number[] = []
  for (let round = 0; round < plan.rounds; round++) {
    await untilServed(load, everybody)
    await untilRegistered(fleet, plan.members * plan.workers)
    const { window, stop, revokedAfterMs } = await stopOnce(t, fleet, load, plan)
    windows.push(window)
    stops.push(stop)
    times.push(revokedAfterMs)
    await fleet.control.restore({ target: ALL, ...BY })
  }
  await untilServed(load, everybody)
  await load.stop()
  checkNothingSent(t, fleet, load.outcomes, windows, stops)
  const worst = Math.max(...times)
  t.ok(worst < plan.worstMs, `worst time to revoke: ${worst.toFixed(0)} ms`)
}

async function stopOnce(t: Test, fleet: Fleet, load: Load, plan: StopPlan) {
  const member = plan.members - 1
  const pids = processesOf(fleet, member)
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  const stop = { member, processes: plan.workers, at: Date.now() }
  const revocation = await waitFor(fleet, await fleet.control.kill({ ...ALL, ...BY }))
  const opened = await load.settle()
  const count = (how: string) => revocation.instances.filter((one) => one.how === how).length
  t.equal(count('acknowledged'), (plan.members - 1) * plan.workers)
  t.equal(count('lease-ended'), plan.workers)
  await pause(plan.stoppedMs)
  const wokenAt = Date.now()
  for (const pid of pids) process.kill(pid, 'SIGCONT')
  // Requests that were waiting in its sockets are answered now.
  const isRefusing = () =>
    load.outcomes.some(
      (one) => one.member === member && one.answeredAt > wokenAt && one.status === 400,
    )
  await eventually(isRefusing, PATIENCE_MS)
  await pause(WATCHED_MS)
  return {
    window: { ...opened, to: Date.now() },
    stop,
    revokedAfterMs: revocation.fromCommitMs,
  }
}

/** Returns the processes of a `latchkey serve` and its workers. */
function processesOf(fleet: Fleet, member: number): readonly number[] {
  const { pid } = fleet.members[member]?.running.process ?? {}
  if (pid === undefined) throw new TypeError('no such process')
  const children = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8')
  return [pid, ...children.split(' ').filter(Boolean).map(Number)]
}
