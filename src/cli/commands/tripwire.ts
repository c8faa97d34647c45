/** Implements `latchkey tripwire simulate | suggest`. */
// SPDX-License-Identifier: Apache-2.0
import { openLog } from '../../audit/reader/log-reader.ts'
import { searchLog } from '../../audit/reader/search.ts'
import type { AuditEntry } from '../../audit/record.ts'
import { describeSubject } from '../../tripwire/rule.ts'
import {
  type PastRequest,
  type TripwireSimulation,
  fromAuditEntry,
  mergeByTime,
  simulateRequests,
  simulateUsage,
} from '../../tripwire/simulate.ts'
import { suggestRules, toYaml } from '../../tripwire/suggest.ts'
import {
  CONFIG_FLAG,
  type Command,
  type Context,
  type Flag,
  UsageError,
  loadContextConfig,
  stringFlag,
} from '../../terminal/command.ts'
import { parsePast } from '../../terminal/flags/time.ts'
import type { Output } from '../../terminal/output.ts'
import { AUDIT_FLAGS, openLogs } from './audit.ts'

const SINCE_FLAG = {
  since: {
    type: 'string',
    value: 'WHEN',
    description:
      'Start of the period: a duration before now such as 30d, or a date (default: 30d).',
  },
} as const satisfies Record<string, Flag>

export const tripwireSimulate: Command = {
  flags: {
    ...SINCE_FLAG,
    audit: {
      type: 'boolean',
      description:
        'Replay each request from the audit logs, for exact results (default: use the hourly counts in the store).',
    },
    ...AUDIT_FLAGS,
    ...CONFIG_FLAG,
  },
  examples: ['latchkey tripwire simulate --since 30d', 'latchkey tripwire simulate --audit'],
  async run(context) {
    const config = await loadContextConfig(context)
    const { rules, learningMs, maxSubjects } = config.tripwire
    if (rules.length === 0) {
      throw new UsageError('INPUT_INVALID', 'the configuration has no tripwire.rules', {
        hint: 'generate rules from recorded usage with latchkey tripwire suggest',
      })
    }
    const since = sinceOf(context)
    const options = { rules, learningMs, maxSubjects }
    const found =
      context.flags['audit'] === true
        ? simulateRequests(await openPast(context, since), options)
        : simulateUsage(await loadSpans(context, since), options)
    const from = new Date(since).toISOString()
    context.output.result(`since ${from}: ${toText(found, context.output)}`, { since, ...found })
  },
}

export const tripwireSuggest: Command = {
  flags: { ...SINCE_FLAG, ...CONFIG_FLAG },
  examples: ['latchkey tripwire suggest --since 30d > tripwire.yaml'],
  async run(context) {
    const rules = suggestRules(await loadSpans(context, sinceOf(context)))
    if (rules.length === 0) {
      throw new UsageError('INPUT_INVALID', 'no successful Decrypt requests are recorded')
    }
    context.output.note(
      'the limits are based on recorded usage; review them, and try them with tripwire.mode set to rehearse',
    )
    context.output.result(toYaml(rules), { rules })
  },
}

function sinceOf(context: Context): number {
  return parsePast(stringFlag(context, 'since') ?? '30d')
}

async function loadSpans(context: Context, since: number) {
  const config = await loadContextConfig(context)
  const { loadHourlyUsage } = await import('../../app/tripwire.ts')
  return loadHourlyUsage(config, since)
}

/** Opens every log, and returns the requests of all logs in chronological order. */
async function openPast(context: Context, since: number): Promise<Iterable<PastRequest>> {
  const { folders, publicKey } = await openLogs(context)
  const logs = []
  for (const folder of folders) logs.push(await openLog(folder, publicKey))
  function* ofLog(entries: Iterable<{ readonly entry: AuditEntry }>): Generator<PastRequest> {
    for (const { entry } of entries) {
      const past = fromAuditEntry(entry)
      if (past !== undefined) yield past
    }
  }
  return mergeByTime(logs.map((log) => ofLog(searchLog(log, { since }))))
}

function toText({ requests, notToldApart, trips }: TripwireSimulation, output: Output): string {
  const rows = trips.map((one) => [
    ...[one.rule, one.action, describeSubject(one.subject)],
    ...[String(one.certain), String(one.possible), String(Math.round(one.highest))],
    new Date(one.firstAt).toISOString(),
  ])
  const heading = ['RULE', 'ACTION', 'SUBJECT', 'TRIPS', 'POSSIBLE', 'HIGHEST', 'FIRST']
  return [
    trips.length === 0
      ? `${String(requests)} requests would not have broken any rule`
      : `${String(requests)} requests`,
    ...(notToldApart === 0
      ? []
      : [`${String(notToldApart)} more were counted without their callers (activity.maxSubjects)`]),
    ...(rows.length === 0 ? [] : ['', output.table(heading, rows)]),
  ].join('\n')
}
