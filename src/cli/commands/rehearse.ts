/**
 * Implements `latchkey kill --rehearse`: reports from recorded usage what a kill would have
 * refused.
 */
// SPDX-License-Identifier: Apache-2.0
import type { Refused, Rehearsal } from '../../usage/rehearsal.ts'
import { systemClock } from '../../core/clock.ts'
import { pause } from '../../core/deadline.ts'
import { describeScope } from '../../core/scope.ts'
import type { RehearsalOrder, RehearsalReport } from '../../killswitch/operator/exposure.ts'
import type { Operator } from '../../killswitch/operator/service.ts'
import { stringFlag, UsageError, type Context, type Flag } from '../../terminal/command.ts'
import { PROBES_FLAG, describeProbes } from '../../terminal/flags/probes.ts'
import { withOperator } from '../operator.ts'
import type { Output } from '../../terminal/output.ts'
import { parsePast, parseWhen } from '../../terminal/flags/time.ts'

export const REHEARSAL_FLAGS = {
  rehearse: {
    type: 'boolean',
    description:
      'Dry run: report which requests of the last hour would have been refused, without refusing any.',
  },
  since: {
    type: 'string',
    value: 'WHEN',
    description:
      'With --rehearse: start of the window, as a duration before now such as 2h or 30d, or a date. --until then sets its end.',
  },
  watch: {
    type: 'boolean',
    description:
      'With --rehearse: report new requests as they are recorded, until --until or Ctrl-C.',
  },
  probes: {
    ...PROBES_FLAG.probes,
    description: "With --rehearse: include requests that Latchkey's own tools sent.",
  },
} as const satisfies Record<string, Flag>

const HOUR_MS = 3_600_000
/**
 * Pause between two polls of an admin listener, which does not report how often usage is written.
 */
const STEP_MS = 5000

/** @throws UsageError, StorageError */
export async function rehearseKill(context: Context, order: RehearsalOrder): Promise<void> {
  const since = stringFlag(context, 'since')
  const until = stringFlag(context, 'until')
  await withOperator(
    context,
    async (killSwitch, place) => {
      if (context.flags['watch'] === true) {
        if (since !== undefined)
          throw new UsageError('USAGE', '--since and --watch cannot be combined')
        await watch(context, order, killSwitch, {
          stepMs: place.kind === 'store' ? place.config.activity.flushIntervalMs : STEP_MS,
          endsAt: until === undefined ? Infinity : parseWhen(until),
        })
        return
      }
      const now = systemClock.now()
      const window = {
        since: since === undefined ? now - HOUR_MS : parsePast(since),
        until: until === undefined ? now : parsePast(until),
        probes: context.flags['probes'] === true,
      }
      if (window.since >= window.until)
        throw new UsageError('USAGE', '--since must be before --until')
      const found = await killSwitch.rehearse(order, window)
      context.output.result(toText(order, found, context.output), { ...toJson(order), ...found })
    },
    'all',
  )
}

/**
 * Refuses rehearsal flags without --rehearse. Otherwise, a mistyped rehearsal would run as a kill.
 * @throws UsageError
 */
export function checkNoRehearsal(context: Context): void {
  const { since, watch, probes } = context.flags
  if (since === undefined && watch !== true && probes !== true) return
  throw new UsageError('USAGE', '--since, --watch and --probes require --rehearse')
}

/** Prints how much the counts have grown since the previous poll. */
async function watch(
  context: Context,
  order: RehearsalOrder,
  killSwitch: Operator,
  { stepMs, endsAt }: { readonly stepMs: number; readonly endsAt: number },
): Promise<void> {
  const startedAt = systemClock.now()
  const look = () =>
    killSwitch.rehearse(order, {
      ...{ since: startedAt, until: systemClock.now() + HOUR_MS },
      probes: context.flags['probes'] === true,
    })
  let before = await look()
  context.output.note(
    `dry run for ${describeScope(order.scope)}: no request is refused; press Ctrl-C to stop`,
  )
  for (;;) {
    const left = endsAt - systemClock.now()
    if (left <= 0) return
    await pause(Math.min(Math.max(1000, stepMs), left))
    const now = await look()
    const more = toDifference(before, now)
    if (more.wouldBeRefused > 0) {
      const at = new Date(systemClock.now()).toISOString()
      const who = more.principals.map(({ name, requests }) => `${name} ${String(requests)}`)
      const services = more.services.map(({ name }) => name).join(', ')
      context.output.result(
        `${at}  would refuse ${String(more.wouldBeRefused)}: ${who.join('; ')} (by service: ${services})`,
        { at, ...toJson(order), ...more },
      )
    }
    before = now
  }
}

function toDifference(before: Rehearsal, now: Rehearsal) {
  const part = (name: 'principals' | 'services' | 'accounts' | 'keys' | 'kmsOperations') => {
    const counts = new Map(before[name].map((one) => [one.name, one.requests]))
    return now[name]
      .map((one) => ({ ...one, requests: one.requests - (counts.get(one.name) ?? 0) }))
      .filter(({ requests }) => requests > 0)
  }
  return {
    requests: now.requests - before.requests,
    wouldBeRefused: now.wouldBeRefused - before.wouldBeRefused,
    principals: part('principals'),
    services: part('services'),
    accounts: part('accounts'),
    keys: part('keys'),
    kmsOperations: part('kmsOperations'),
  }
}

function toJson({ scope, direction }: RehearsalOrder) {
  return { state: 'rehearsed', scope, direction } as const
}

function toText(
  { scope, direction }: RehearsalOrder,
  found: RehearsalReport,
  output: Output,
): string {
  const { period, requests, wouldBeRefused, refusedAnyway, notToldApart, probesLeftOut } = found
  const whole = period.spanMs === HOUR_MS ? 'hours' : 'minutes'
  return [
    `dry run for ${describeScope(scope)}, ${direction}: no request was refused`,
    `from ${toDate(period.since)} to ${toDate(period.until)}, in whole ${whole}: ` +
      `of ${String(requests)} requests, ${String(wouldBeRefused)} would have been refused`,
    refusedAnyway === 0 ? '' : `${String(refusedAnyway)} more were refused for other reasons`,
    notToldApart === 0
      ? ''
      : `${String(notToldApart)} more came from callers that were not recorded by name (activity.maxSubjects); the kill may cover some of them`,
    probesLeftOut === 0 ? '' : describeProbes(probesLeftOut),
    section(output, 'PRINCIPAL', found.principals),
    section(output, 'SERVICE', found.services),
    section(output, 'ACCOUNT', found.accounts),
    section(output, 'KEY', found.keys),
    section(output, 'KMS OPERATION', found.kmsOperations),
  ]
    .filter((part) => part !== '')
    .join('\n')
}

function section(output: Output, heading: string, rows: readonly Refused[]): string {
  if (rows.length === 0) return ''
  const cells = rows.map(({ name, requests, lastAt }) => [name, String(requests), toDate(lastAt)])
  return `\n${output.table([heading, 'REQUESTS', 'LAST'], cells)}`
}

function toDate(time: number): string {
  return new Date(time).toISOString()
}
