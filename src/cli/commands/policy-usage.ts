/**
 * Implements `latchkey policy simulate | suggest | import`, which test policies against recorded
 * usage, derive policies from it, or translate the policies of AWS's sample proxy.
 */
// SPDX-License-Identifier: Apache-2.0
import { readFile } from 'node:fs/promises'
import { importOso } from '../../policy/oso.ts'
import { checkDocuments } from '../../policy/policy-set.ts'
import { type Simulation, simulate, suggestPolicies } from '../../policy/recorded-usage.ts'
import {
  type Command,
  type Context,
  type Flag,
  UsageError,
  stringFlag,
} from '../../terminal/command.ts'
import { PLACE_FLAGS } from '../../terminal/contexts.ts'
import { parsePast } from '../../terminal/flags/time.ts'
import type { Output } from '../../terminal/output.ts'
import { withPolicies } from '../with-administration.ts'
import { CANDIDATE_FLAGS, candidateOf } from '../with-policies.ts'

const SINCE_FLAG = {
  since: {
    type: 'string',
    value: 'WHEN',
    description:
      'Start of the recorded usage: a duration before now such as 7d, or a date (default: 7d).',
  },
} as const satisfies Record<string, Flag>

function sinceOf(context: Context): number {
  return parsePast(stringFlag(context, 'since') ?? '7d')
}

export const policySimulate: Command = {
  flags: { ...SINCE_FLAG, ...CANDIDATE_FLAGS, ...PLACE_FLAGS },
  examples: [
    'latchkey policy simulate --since 7d --policies policies/',
    'latchkey policy simulate --shadow',
  ],
  run: (context) =>
    withPolicies(context, async (policies) => {
      const set = await checkDocuments(await candidateOf(context, policies))
      const { usage, period } = await policies.usage(sinceOf(context))
      const found = simulate(set, usage)
      const from = new Date(period.since).toISOString()
      context.output.result(`since ${from}: ${toText(found, context.output)}`, {
        ...period,
        ...found,
      })
    }),
}

function toText(found: Simulation, output: Output): string {
  const { requests, wouldBeRefused, wouldBeAllowed, uncertain, notToldApart, unrecorded } = found
  const rows = found.refusals.map((one) => [
    ...[one.principal, one.service, one.key, one.kmsOperation, String(one.requests)],
    ...[new Date(one.lastAt).toISOString(), one.isUncertain ? 'perhaps' : one.denial],
    one.policies.join(' '),
  ])
  const heading = [
    'PRINCIPAL',
    'SERVICE',
    'KEY',
    'KMS OPERATION',
    'REQUESTS',
    'LAST',
    'WHY',
    'POLICIES',
  ]
  return [
    `of ${String(requests)} requests, ${String(wouldBeRefused)} that succeeded would be refused`,
    ...(wouldBeAllowed === 0
      ? []
      : [`${String(wouldBeAllowed)} that the policies refused would be allowed`]),
    ...(uncertain === 0
      ? []
      : [`${String(uncertain)} depend on data that is not recorded: ${unrecorded.join(', ')}`]),
    ...(notToldApart === 0
      ? []
      : [`${String(notToldApart)} more were counted without their callers (activity.maxSubjects)`]),
    ...(rows.length === 0 ? [] : ['', output.table(heading, rows)]),
  ].join('\n')
}

export const policySuggest: Command = {
  flags: { ...SINCE_FLAG, ...PLACE_FLAGS },
  examples: ['latchkey policy suggest --since 30d > suggested.cedar'],
  run: (context) =>
    withPolicies(context, async (policies) => {
      const { usage } = await policies.usage(sinceOf(context))
      const text = suggestPolicies(usage)
      if (text === '') throw new UsageError('INPUT_INVALID', 'no successful requests are recorded')
      await checkDocuments(new Map([['suggested', text]]))
      const unknown = usage.some(({ subject }) => subject.isOverflow)
      if (unknown)
        context.output.note(
          'some requests were counted without their callers (activity.maxSubjects)',
        )
      context.output.note(
        'review the policies before you put them in force: they allow everything that was requested, whether or not it should be allowed',
      )
      context.output.result(text, { cedar: text })
    }),
}

export const policyImport: Command = {
  flags: {
    oso: {
      type: 'string',
      value: 'FILE',
      description: "Polar file of AWS's sample proxy (required).",
    },
  },
  examples: ['latchkey policy import --oso oso.polar > imported.cedar'],
  async run(context) {
    const file = stringFlag(context, 'oso')
    if (file === undefined) throw new UsageError('USAGE', '--oso is missing')
    const found = importOso(await readFile(file, 'utf8'))
    for (const { line, message } of found.findings)
      context.output.note(`${line === 0 ? file : `${file}:${String(line)}`}: ${message}`)
    if (found.cedar === '')
      throw new UsageError('INPUT_INVALID', `no rule in ${file} could be translated`)
    await checkDocuments(new Map([['imported', found.cedar]]))
    context.output.result(found.cedar, found)
  },
}
