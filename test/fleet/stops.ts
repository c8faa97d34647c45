/** Stops an instance repeatedly under load. After it resumes, it must not send any pending response. */
// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs'
import type { Test } from 'tap'
import { eventually } from '../support/server.ts'
import {
  type Fleet,
  type FleetOptions,
  killAll,
  restoreAll,
  startFleet,
  untilRegistered,
  waitFor,
} from '../support/fleet.ts'
import { checkNothingSent, type Stopped, type Window } from '../support/fleet-check.ts'
import { startLoad, untilServed, type Load } from '../support/fleet-load.ts'

export interface StopPlan extends FleetOptions {
  readonly rounds: number
  /** Time from `revoked` until the instance resumes. */
  readonly stoppedMs: number
  /** Number of connections to each fleet member. */
  readonly connections: number
  /** Maximum time from the kill's commit until access is revoked, on an idle machine (default: not checked). */
  readonly worstMs?: number | undefined
}

/** How long the resumed instance is observed before access is restored. */
const WATCHED_MS = 300

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Stops and resumes the last fleet member once per round. */
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
    await restoreAll(fleet)
  }
  await untilServed(load, everybody)
  await load.stop()
  checkNothingSent(t, fleet, load.outcomes, windows, stops)
  const worst = Math.max(...times)
  t.comment(`worst time to revoke: ${worst.toFixed(0)} ms`)
  if (plan.worstMs !== undefined) t.ok(worst < plan.worstMs)
}

async function stopOnce(t: Test, fleet: Fleet, load: Load, plan: StopPlan) {
  const member = plan.members - 1
  const pids = processesOf(fleet, member)
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  const stop = { member, processes: plan.workers, at: Date.now() }
  const revocation = await waitFor(fleet, await killAll(fleet))
  const opened = await load.settle()
  const count = (how: string) => revocation.instances.filter((one) => one.how === how).length
  t.equal(count('acknowledged'), (plan.members - 1) * plan.workers)
  t.equal(count('lease-ended'), plan.workers)
  await pause(plan.stoppedMs)
  const wokenAt = Date.now()
  for (const pid of pids) process.kill(pid, 'SIGCONT')
  // The resumed processes now answer the requests that were waiting in their sockets.
  const isRefusing = () =>
    load.outcomes.some(
      (one) => one.member === member && one.answeredAt > wokenAt && one.status === 400,
    )
  await eventually(isRefusing)
  await pause(WATCHED_MS)
  return {
    window: { ...opened, to: Date.now() },
    stop,
    revokedAfterMs: revocation.fromCommitMs,
  }
}

/** Returns the process ids of a fleet member's `latchkey serve` and its workers. */
function processesOf(fleet: Fleet, member: number): readonly number[] {
  const { pid } = fleet.members[member]?.running.process ?? {}
  if (pid === undefined) throw new TypeError('no such process')
  const children = readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, 'utf8')
  return [pid, ...children.split(' ').filter(Boolean).map(Number)]
}
