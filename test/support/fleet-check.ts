/**
 * Checks that nothing that was stopped was answered, by the callers' records and by the servers'
 * logs.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import type { Fleet, Outcome, Success } from './fleet.ts'

/** Wall time from `revoked` to the restoration, in which no success may be sent. */
export interface Window {
  readonly from: number
  /** By this time, everything that had arrived by `from` has been read. */
  readonly settledAt: number
  readonly to: number
}

/** A member whose processes were all stopped and later resumed. */
export interface Stopped {
  readonly member: number
  readonly processes: number
  /** Wall time. */
  readonly at: number
}

/**
 * Uses one clock, that of the callers: what counts is when an answer arrived and when its request
 * was sent.
 */
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
  // The log has a resolution of milliseconds, so a success in the same millisecond does not count.
  // If a process was stopped after an answer had left, its log gives the time at which it resumed;
  // in that case the arrival counts.
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
 * A process that wakes up refuses before its first answer, wherever it was stopped: the kernel
 * ensures that (docs/revocation.md). So it reports no late answer either.
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
