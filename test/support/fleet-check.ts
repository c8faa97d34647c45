/**
 * Checks, using both the callers' records and the server logs, that no successful response was sent after `revoked`,
 * not even by an instance that was stopped and resumed.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Test } from 'tap'
import type { Fleet, Outcome, Success } from './fleet.ts'

/** The period between `revoked` and the restore, in wall clock time. No successful response may be sent during it. */
export interface Window {
  readonly from: number
  /** By this time, every response that had arrived by `from` had been read. */
  readonly settledAt: number
  readonly to: number
}

/** A member whose processes were all stopped and resumed later. */
export interface Stopped {
  readonly member: number
  readonly processes: number
  /** Wall clock time of the stop. */
  readonly at: number
}

/**
 * Checks that no successful response arrived after `revoked`. Both the send time of a request and the arrival time of
 * its response come from the callers' clock.
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
  // Log times are in whole milliseconds, so a success in the same millisecond as `revoked` does not count. If a process
  // was stopped just after sending a response, it logs the time at which it resumed; in that case, the arrival time
  // that the caller recorded decides.
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
 * Checks that a resumed process sends no successful response, no matter where it was stopped. The lease guard ensures
 * this (docs/revocation.md), so the process does not report a late response either.
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
