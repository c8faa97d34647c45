/** `latchkey status` */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import { findLongKills } from '../../killswitch/instance/long-kill.ts'
import { describeScope } from '../../core/scope.ts'
import type { ControlStatus, InstanceStatus } from '../../killswitch/operator/status.ts'
import { REVOKED, type Receipt } from '../../killswitch/receipt/receipt.ts'
import type { Signed } from '../../core/signature.ts'
import { CONFIG_FLAG, type Command } from '../../terminal/command.ts'
import { CONTEXT_FLAG } from '../../terminal/contexts.ts'
import { toTable } from '../../terminal/output.ts'
import { withOperator } from '../operator.ts'
import { describeLongKill } from './exposure.ts'

const RECENT_EVENTS = 10

export const status: Command = {
  flags: {
    events: { type: 'boolean', description: 'Show all events, not only the last ten.' },
    ...CONTEXT_FLAG,
    ...CONFIG_FLAG,
  },
  examples: ['latchkey status', 'latchkey status --json'],
  async run(context) {
    await withOperator(context, async (control) => {
      const events = context.flags['events'] === true ? Number.MAX_SAFE_INTEGER : RECENT_EVENTS
      const found = await control.status(events)
      // A role without the privilege to see warnings still gets the rest of the status.
      const storeWarnings = await control.storeWarnings(found.instances.length).catch(() => [])
      for (const warning of storeWarnings) context.output.note(`warning: ${warning}`)
      const now = systemClock.now()
      const longKills = findLongKills(found.switches, now)
      const warnings = longKills.map((one) => describeLongKill(one, now))
      context.output.result([toText(found), ...warnings].join('\n\n'), {
        ...found,
        longKills,
        storeWarnings,
      })
    })
  },
}

function toText(found: ControlStatus): string {
  const { switches, deadManSwitches, requests, instances, events } = found
  return [
    [`epoch ${String(found.epoch)} of store ${found.storeId}`, describeService(found)].join(': '),
    describeBackup(found),
    section(
      ['SWITCH', 'STOPS', 'DIRECTION', 'SINCE', 'UNTIL', 'BY', 'REASON'],
      switches.map((one) => [
        ...[one.id, describeScope(one.scope), one.direction, toDate(one.createdAt)],
        ...[toDate(one.until), one.operator, one.reason],
      ]),
    ),
    section(
      ["DEAD MAN'S SWITCH", 'OPEN UNTIL', 'RENEWED', 'BY', 'REASON'],
      deadManSwitches.map((one) => [
        ...[one.keyStore, toDate(one.openUntil), toDate(one.renewedAt), one.operator, one.reason],
      ]),
    ),
    section(
      ['REQUEST', 'TO RESTORE', 'ASKED BY', 'APPROVED BY', 'FROM', 'EXPIRES', 'REASON'],
      requests.map((one) => [
        ...[one.id, describeTarget(one.target), one.operator, describeApproval(one)],
        ...[toDate(one.readyAt), toDate(one.expiresAt), one.reason],
      ]),
    ),
    section(
      ['INSTANCE', 'HOST', 'PID', 'WORKER', 'STATE', 'EPOCH', 'ACKNOWLEDGED', 'LEASE', 'SEEN'],
      instances.map((one) => [
        ...[one.id.slice(0, 8), one.host, String(one.pid), String(one.worker), toState(one)],
        ...[String(one.ackedEpoch), one.hasAcknowledged ? 'yes' : 'no'],
        ...[`${String(one.leaseMs)} ms`, one.seenAt === 0 ? '-' : `${String(one.silentMs)} ms ago`],
      ]),
    ),
    section(
      ['EVENT', 'AT', 'EPOCH', 'WHAT', 'BY', 'DETAIL'],
      events.map((one) => [
        ...[String(one.seq), toDate(one.at), String(one.epoch), one.kind, one.operator],
        toDetail(one),
      ]),
    ),
  ]
    .filter((part) => part !== '')
    .join('\n\n')
}

function describeBackup({ lastBackup, epoch }: ControlStatus): string {
  if (lastBackup === undefined) return 'last backup: none by latchkey store backup'
  const since = epoch - lastBackup.epoch
  return `last backup: ${toDate(lastBackup.createdAt)}, ${count(since, 'epoch')} ago`
}

/** Answers a person's first questions: does a switch stop anything, and do the instances serve? */
function describeService({ switches, instances }: ControlStatus): string {
  const stopped =
    switches.length === 0 ? 'no switch is in force' : `${String(switches.length)} in force`
  const open = instances.filter((one) => toState(one) === 'open').length
  const all = instances.filter(({ isDismissed }) => !isDismissed).length
  if (all === 0) return `${stopped}, no instance is running`
  return open === all
    ? `${stopped}, ${count(open, 'instance')} serving`
    : `${stopped}, ${String(open)} of ${count(all, 'instance')} serving: see STATE below`
}

function count(number: number, noun: string): string {
  return `${String(number)} ${noun}${number === 1 ? '' : 's'}`
}

/** A receipt is long and signed, so only its location is shown here. */
function toDetail({ kind, detail }: ControlStatus['events'][number]): string {
  if (kind !== REVOKED) return JSON.stringify(detail)
  const { id, timeToRevokeMs, instances } = (detail as unknown as Signed<Receipt>).statement
  return `${String(instances.length)} instances, ${String(timeToRevokeMs)} ms: latchkey receipt show ${id}`
}

function section(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  return rows.length === 0 ? '' : toTable(headings, rows)
}

/**
 * An instance whose row is older than its lease refuses everything, whatever state it reported
 * last.
 */
function toState(one: InstanceStatus): string {
  const { state, reason, silentMs, leaseMs, isGenuine, isDismissed } = one
  if (isDismissed) return 'dismissed after a long silence'
  if (!isGenuine) return 'unknown: row missing or changed'
  if (silentMs > leaseMs) return 'silent'
  return reason === null ? state : `${state}: ${reason}`
}

function toDate(time: number | undefined): string {
  return time === undefined ? '-' : new Date(time).toISOString()
}

function describeTarget(target: ControlStatus['requests'][number]['target']): string {
  switch (target.kind) {
    case 'switches':
      return target.switchIds.join(' ')
    case 'reopen':
      return `reopen ${target.keyStore}`
    case 'end-deadman':
      return `end the dead man's switch of ${target.keyStore}`
  }
}

function describeApproval({ approval }: ControlStatus['requests'][number]): string {
  return approval === undefined ? '-' : `${approval.operator}, epoch ${String(approval.epoch)}`
}
