/** Implements `latchkey exposure`. */
// SPDX-License-Identifier: Apache-2.0
import type { Exposure } from '../../usage/exposure.ts'
import { parseExternalKeyId } from '../../core/ids.ts'
import type { LongKill } from '../../killswitch/instance/long-kill.ts'
import { describeScope, type Scope } from '../../core/scope.ts'
import type { ExposureReport } from '../../killswitch/operator/exposure.ts'
import {
  CONFIG_FLAG,
  findKeyStore,
  stringFlag,
  UsageError,
  type Command,
  type Context,
} from '../../terminal/command.ts'
import { PROBES_FLAG, describeProbes } from '../../terminal/flags/probes.ts'
import type { Output } from '../../terminal/output.ts'
import { CONTEXT_FLAG } from '../../terminal/contexts.ts'
import { type Place, withOperator } from '../operator.ts'
import { parsePast } from '../../terminal/flags/time.ts'

export const exposure: Command = {
  flags: {
    'key-store': {
      type: 'string',
      short: 's',
      value: 'NAME',
      description: 'Report only this key store.',
    },
    key: { type: 'string', short: 'k', value: 'KEY_ID', description: 'Report only this key.' },
    switch: {
      type: 'string',
      value: 'ID',
      description: 'Report only data keys within the scope of this kill switch.',
    },
    since: {
      type: 'string',
      value: 'WHEN',
      description:
        'Start of the period: a duration before now such as 2h or 30d, or a date (default: everything recorded; see activity.retention).',
    },
    ...PROBES_FLAG,
    ...CONTEXT_FLAG,
    ...CONFIG_FLAG,
  },
  examples: [
    'latchkey exposure',
    'latchkey exposure --switch 0a1b2c3d4e5f --json',
    'latchkey exposure --key-store payroll --since 7d',
  ],
  async run(context) {
    await withOperator(
      context,
      async (killSwitch, place) => {
        const asked = stringFlag(context, 'since')
        const since = asked === undefined ? undefined : parsePast(asked)
        const window = { since, probes: context.flags['probes'] === true }
        const report = await killSwitch.exposure(parseAbout(context, place), window)
        context.output.result(toText(report, context.output), report)
      },
      'all',
    )
  },
}

function parseAbout(context: Context, config: Place): Scope | { readonly id: string } | undefined {
  const id = stringFlag(context, 'switch')
  const key = stringFlag(context, 'key')
  const named = stringFlag(context, 'key-store')
  if (id !== undefined) {
    if (key !== undefined || named !== undefined) {
      throw new UsageError('USAGE', '--switch cannot be combined with --key-store or --key')
    }
    return { id }
  }
  if (key === undefined && named === undefined) return undefined
  const keyStore = findKeyStore(context, config).name
  if (key === undefined) return { kind: 'key-store', keyStore }
  if (parseExternalKeyId(key) === undefined) {
    throw new UsageError('INPUT_INVALID', `expected a key id, found ${key}`)
  }
  return { kind: 'key', keyStore, keyId: key }
}

function toText(report: ExposureReport, output: Output): string {
  const { scope, since, until: now, exposures: found, longKills, probesLeftOut } = report
  const what = scope.kind === 'all' ? 'every key' : describeScope(scope)
  const head = `data keys of ${what} fetched since ${toDate(since)}`
  const none = 'no fetches are recorded'
  const services = new Map(found.map(({ service }) => [service.name, service]))
  const table = output.table(
    ['KEY', 'SERVICE', 'FETCHES', 'LAST', 'STILL WORKS'],
    found.map((one) => [
      ...[`${one.keyStore}/${one.keyId}`, one.service.name, String(one.requests)],
      ...[toDate(one.lastAt), worksOn(one, now)],
    ]),
  )
  const who = output.table(
    ['KEY', 'PRINCIPAL', 'ACCOUNT', 'KMS OPERATION', 'DIRECTION', 'FETCHES', 'LAST'],
    found.flatMap(({ keyStore, keyId, by }) =>
      by.map((one) => [
        ...[`${keyStore}/${keyId}`, one.principal, one.account, one.kmsOperation],
        ...[one.operation, String(one.requests), toDate(one.lastAt)],
      ]),
    ),
  )
  const facts = [...services.values()].map((fact) =>
    [
      `${fact.name} (${fact.certainty})`,
      `  still works: ${fact.goesOn}`,
      `  how long:    ${fact.howLong}`,
      `  ended by:    ${fact.endedBy}`,
      ...(fact.afterSevenDays === undefined ? [] : [`  7 days:    ${fact.afterSevenDays}`]),
      `  source:    ${fact.source}`,
    ].join('\n'),
  )
  const parts = found.length === 0 ? [head, none] : [head, table, who, ...facts]
  const left = probesLeftOut === 0 ? [] : [describeProbes(probesLeftOut)]
  const warnings = longKills.map((one) => describeLongKill(one, now))
  return output.fold([...parts, ...left, ...warnings].join('\n\n'))
}

function worksOn({ endsAt, service }: Exposure, now: number): string {
  if (endsAt === undefined) return `unknown: until ${service.endedBy}`
  return endsAt <= now ? `ended at ${toDate(endsAt)}` : `until ${toDate(endsAt)} at the latest`
}

/** Describes a long kill in one line, for people. */
export function describeLongKill({ id, scope, createdAt, harmAt }: LongKill, now: number): string {
  const days = Math.floor((now - createdAt) / 86_400_000)
  const when = harmAt > now ? `from ${toDate(harmAt)}` : `since ${toDate(harmAt)}`
  return (
    `warning: switch ${id} (${scope}) has been in force for ${String(days)} days; ${when}, DynamoDB ` +
    'archives tables that use these keys, and Aurora clusters can only be restored from a backup'
  )
}

function toDate(time: number): string {
  return new Date(time).toISOString()
}
