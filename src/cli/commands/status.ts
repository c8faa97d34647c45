/** Implements `latchkey status`. */
// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import type { Operator } from '../../killswitch/operator/service.ts'
import { findLongKills } from '../../killswitch/instance/long-kill.ts'
import { describeScope, type Direction, type Scope } from '../../core/scope.ts'
import { byImportance, joinDirections } from '../../killswitch/operator/control-lists.ts'
import type { ControlStatus, InstanceStatus } from '../../killswitch/operator/status.ts'
import { REVOKED, type Receipt } from '../../killswitch/receipt/receipt.ts'
import type { Signed } from '../../core/signature.ts'
import { CONFIG_FLAG, type Command, type Context } from '../../terminal/command.ts'
import { CONTEXT_FLAG } from '../../terminal/contexts.ts'
import { describeTime } from '../../terminal/flags/time.ts'
import { withOperator } from '../operator.ts'
import { describeLongKill } from './exposure.ts'

const RECENT_EVENTS = 10
/** Number of items of each list that the text shows. */
const FIRST_ITEMS = 10
/** Number of warnings about switches that approach seven days. */
const FIRST_LONG_KILLS = 3
const WATCH_MS = 2000
/** Words for what switches with the scope `all` stop, by their direction. */
const EVERYTHING: Readonly<Record<Direction, string>> = {
  both: 'everything',
  decrypt: 'every Decrypt',
  encrypt: 'every Encrypt',
}

export const status: Command = {
  flags: {
    events: { type: 'boolean', description: 'Show all events, not only the last ten.' },
    switches: {
      type: 'boolean',
      description:
        "Show all switches, dead man's switches and restore requests, not only the ten most important.",
    },
    watch: {
      type: 'boolean',
      description: 'Refresh the status every two seconds, until Ctrl-C.',
    },
    ...CONTEXT_FLAG,
    ...CONFIG_FLAG,
  },
  examples: ['latchkey status', 'latchkey status --json'],
  async run(context) {
    await withOperator(context, async (control) => {
      const show = () => showStatus(context, control)
      await show()
      while (context.flags['watch'] === true) {
        await pause(WATCH_MS)
        context.output.clear()
        await show()
      }
    })
  },
}

async function showStatus(context: Context, control: Operator): Promise<void> {
  const events = context.flags['events'] === true ? Number.MAX_SAFE_INTEGER : RECENT_EVENTS
  const isWhole = context.output.json || context.flags['switches'] === true
  const found = addCounts(await control.status(events, isWhole ? {} : { limit: FIRST_ITEMS }))
  // A role without the privilege to see warnings still gets the rest of the status.
  const storeWarnings = await control.storeWarnings(found.instances.length).catch(() => [])
  for (const warning of storeWarnings) context.output.note(`warning: ${warning}`)
  const now = systemClock.now()
  const longKills = isWhole
    ? [...findLongKills(found.switches, now)].sort((a, b) => a.createdAt - b.createdAt)
    : found.longKills
  context.output.result(() => context.output.fold(toText({ ...found, longKills }, now, context)), {
    ...found,
    longKills,
    storeWarnings,
  })
}

/** A listener of an earlier release returns whole lists, without counts. */
function addCounts(found: ControlStatus): ControlStatus {
  if ((found as Partial<ControlStatus>).counts !== undefined) return found
  const { switches, deadManSwitches, requests } = found
  const longKills = [...findLongKills(switches, systemClock.now())]
  const stopsEverything = switches
    .filter(({ scope }) => scope.kind === 'all')
    .reduce<Direction | undefined>(
      (sum, { direction }) => joinDirections(sum, direction),
      undefined,
    )
  const countOf = (wanted: Scope['kind']) =>
    switches.filter(({ scope: { kind } }) => kind === wanted).length
  const [first] = switches
  return {
    ...found,
    switches: [...switches].sort(byImportance),
    longKills: longKills.sort((a, b) => a.createdAt - b.createdAt),
    ...(stopsEverything && { stopsEverything }),
    ...(first && {
      latestSwitch: switches.reduce((a, b) => (a.createdAt >= b.createdAt ? a : b), first),
    }),
    counts: {
      switches: {
        ...{ total: switches.length, all: countOf('all'), 'key-store': countOf('key-store') },
        ...{ match: countOf('match'), key: countOf('key') },
      },
      deadManSwitches: deadManSwitches.length,
      requests: requests.length,
      longKills: longKills.length,
    },
  }
}

function toText(found: ControlStatus, now: number, { output, flags }: Context): string {
  const { instances, events, counts } = found
  const isWhole = flags['switches'] === true
  const first = <Item>(items: readonly Item[]) => (isWhole ? items : items.slice(0, FIRST_ITEMS))
  const switches = first(found.switches)
  const deadManSwitches = first(found.deadManSwitches)
  const requests = first(found.requests)
  /** @param total number of items, if the rows may be only the first of them */
  const section = (
    headings: readonly string[],
    rows: readonly (readonly string[])[],
    total = rows.length,
  ) => {
    if (rows.length === 0) return ''
    const more =
      total > rows.length
        ? `\n${String(total - rows.length)} more: run latchkey status --switches`
        : ''
    return `${output.table(headings, rows)}${more}`
  }
  return [
    describeState(found, now),
    ...describeLongKills(found, now, isWhole),
    `epoch ${String(found.epoch)} of store ${found.storeId}`,
    describeBackup(found),
    section(
      ['SWITCH', 'STOPS', 'DIRECTION', 'SINCE', 'UNTIL', 'BY', 'REASON'],
      switches.map((one) => [
        ...[one.id, describeScope(one.scope), one.direction, toDate(one.createdAt)],
        ...[toDate(one.until), one.operator, one.reason],
      ]),
      counts.switches.total,
    ),
    section(
      ["DEAD MAN'S SWITCH", 'OPEN UNTIL', 'RENEWED', 'BY', 'REASON'],
      deadManSwitches.map((one) => [
        ...[one.keyStore, toDate(one.openUntil), toDate(one.renewedAt), one.operator, one.reason],
      ]),
      counts.deadManSwitches,
    ),
    section(
      ['REQUEST', 'TO RESTORE', 'ASKED BY', 'APPROVED BY', 'FROM', 'EXPIRES', 'REASON'],
      requests.map((one) => [
        ...[one.id, describeTarget(one.target), one.operator, describeApproval(one)],
        ...[toDate(one.readyAt), toDate(one.expiresAt), one.reason],
      ]),
      counts.requests,
    ),
    section(
      ['INSTANCE', 'HOST', 'PID', 'WORKER', 'STATE', 'EPOCH', 'ACKED', 'LEASE', 'SEEN'],
      instances.map((one) => [
        ...[one.id.slice(0, 8), one.host, String(one.pid), String(one.worker)],
        describeGate(one, counts.switches.total),
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
  if (lastBackup === undefined) return 'last backup: none made by latchkey store backup'
  const since = epoch - lastBackup.epoch
  return `last backup: ${toDate(lastBackup.createdAt)}, ${count(since, 'epoch')} ago`
}

/**
 * Answers an operator's first questions in one line: whether a switch stops anything, and whether
 * the instances are serving.
 */
function describeState(
  { counts, latestSwitch, stopsEverything, instances }: ControlStatus,
  now: number,
): string {
  const open = instances.filter((one) => one.state === 'open' && toState(one).startsWith('open'))
  const all = instances.filter(({ isDismissed }) => !isDismissed).length
  const serving =
    all === 0
      ? 'no instance is running'
      : open.length === all
        ? `${count(all, 'instance')} serving`
        : `${String(open.length)} of ${count(all, 'instance')} serving: see STATE below`
  if (latestSwitch === undefined) return `no switch is in force, ${serving}`
  const { total } = counts.switches
  const which = total === 1 ? '' : 'the most recent '
  const what = latestSwitch.direction === 'both' ? '' : `, ${latestSwitch.direction}`
  return (
    `${count(total, 'switch', 'switches')} in force${describeWidths(counts.switches, stopsEverything)}: ` +
    `${which}${describeScope(latestSwitch.scope)}${what}, ` +
    `since ${describeTime(latestSwitch.createdAt, now)}, by ${latestSwitch.operator}; ${serving}`
  )
}

/** Says what several switches stop, the widest first. */
function describeWidths(
  counts: ControlStatus['counts']['switches'],
  stopsEverything: Direction | undefined,
): string {
  if (counts.total === 1) return ''
  const parts = [
    ...(stopsEverything === undefined ? [] : [`${EVERYTHING[stopsEverything]} is stopped`]),
    ...(counts['key-store'] === 0
      ? []
      : [count(counts['key-store'], 'for a key store', 'for key stores')]),
    ...(counts.match === 0 ? [] : [count(counts.match, 'for callers', 'for callers')]),
    ...(counts.key === 0 ? [] : [count(counts.key, 'for a key', 'for keys')]),
  ]
  return ` (${parts.join(', ')})`
}

function describeLongKills(
  { longKills, counts }: ControlStatus,
  now: number,
  isWhole: boolean,
): readonly string[] {
  const shown = isWhole ? longKills : longKills.slice(0, FIRST_LONG_KILLS)
  const rest = counts.longKills - shown.length
  return [
    ...shown.map((one) => describeLongKill(one, now)),
    ...(rest > 0
      ? [`${count(rest, 'more switch is', 'more switches are')} approaching seven days`]
      : []),
  ]
}

function count(number: number, noun: string, plural = `${noun}s`): string {
  return `${String(number)} ${number === 1 ? noun : plural}`
}

/** A receipt is long and signed, so only its location is shown here. */
function toDetail({ kind, detail }: ControlStatus['events'][number]): string {
  if (kind !== REVOKED) return JSON.stringify(detail)
  const { id, timeToRevokeMs, instances } = (detail as unknown as Signed<Receipt>).statement
  return `${String(instances.length)} instances, ${String(timeToRevokeMs)} ms: latchkey receipt show ${id}`
}

/**
 * An instance whose row is older than its lease refuses every request, regardless of the state that
 * it reported last.
 */
function toState(one: InstanceStatus): string {
  const { state, reason, silentMs, leaseMs, isGenuine, isDismissed } = one
  if (isDismissed) return 'dismissed after a long silence'
  if (!isGenuine) return 'unknown: row missing or changed'
  if (silentMs > leaseMs) return 'silent'
  return reason === null ? state : `${state}: ${reason}`
}

/** An open instance that still enforces switches is not reported as simply open. */
function describeGate(one: InstanceStatus, switches: number): string {
  const state = toState(one)
  return state === 'open' && switches > 0 ? `open, ${count(switches, 'switch', 'switches')}` : state
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
