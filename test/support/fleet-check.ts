/** That nothing which was stopped was answered: by those who asked, and by the log of those who sent. */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import type { Fleet, Outcome, Success } from './fleet.ts'

/** From `revoked` until somebody restores, in wall time: no success may be sent in between. */
export interface Window {
  readonly from: number
  /** Whatever had come by `from` has been read since. */
  readonly settledAt: number
  readonly to: number
}

/** A member all of whose processes were stopped, and went on later. */
export interface Stopped {
  readonly member: number
  readonly processes: number
  /** Wall time. */
  readonly at: number
}

/** One clock, read by those who ask: what counts is when an answer was there, and when it was asked for. */
export function checkNothingSent(
  t: Test,
  fleet: Fleet,
  outcomes: readonly Outcome[],
  windows: readonly Window[],
  stops: readonly Stopped[] = [],
): void {
  const isWithin = (at: number) => windows.some(({ from, to }) => at > from && at < to)
  const isSettled = (at: number) => windows.some((one) => at > one.settledAt && at < one.to)
  const served = outcomes.filter(({ status }) => status === 200)
  t.same(
    served.filter(({ askedAt }) => isWithin(askedAt)),
    [],
    'nobody who asked after `revoked` got an answer',
  )
  const late = served.filter(({ answeredAt }) => isSettled(answeredAt))
  const wasStopped = (one: Outcome) => stops.some(({ member }) => member === one.member)
  t.same(
    late.filter((one) => !wasStopped(one)),
    [],
    'no answer of an instance that runs came after `revoked`',
  )
  checkWoken(t, fleet, late.filter(wasStopped), stops)

  const successes = fleet.successes()
  t.ok(successes.length > 100, `${String(successes.length)} successes are in the logs`)
  // The log has milliseconds: one that seems to be in the same is not counted against it. And who was stopped
  // after an answer had left takes the time until it goes on for the answer's: there, arrival counts.
  const isInterrupted = ({ member, beganAt, sentAt }: Success) =>
    stops.some((one) => one.member === member && beganAt <= one.at && one.at <= sentAt)
  const sent = successes.filter(({ sentAt }) => isWithin(sentAt - 1))
  t.same(
    sent.filter((one) => !isInterrupted(one)),
    [],
    'and by the log of those who sent, nothing left after it',
  )
}

/**
 * Whoever wakes refuses before its first answer, wherever in an answer it was stopped: the kernel sees to that
 * (docs/revocation.md). So none is reported as possible, either.
 */
function checkWoken(
  t: Test,
  fleet: Fleet,
  late: readonly Outcome[],
  stops: readonly Stopped[],
): void {
  if (stops.length === 0) return
  const reported = fleet.lateReports()
  const processes = stops.reduce((sum, one) => sum + one.processes, 0)
  t.comment(
    `${String(stops.length)} stops of ${String(processes)} processes: ${String(late.length)} answers after the wake,`,
    `${String(reported)} reported as possible, ${String(fleet.guardFirings())} times connections were cut`,
  )
  t.same(late, [], 'no answer came after the wake')
  t.equal(reported, 0, 'and none is reported as possible')
  t.ok(fleet.guardFirings() >= processes, 'each process that was stopped had its connections cut')
}
