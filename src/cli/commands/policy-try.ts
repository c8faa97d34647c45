/**
 * Implements `latchkey policy check | test | explain`, which try policies out before they take
 * effect.
 */
// SPDX-License-Identifier: Apache-2.0
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { systemClock as clock } from '../../core/clock.ts'
import {
  type CaseResult,
  judgeCase,
  parseCases,
  parseLogLine,
  parseRequest,
} from '../../policy/cases.ts'
import { PolicyError } from '../../policy/cedar.ts'
import { type Decision, decidePlainly } from '../../policy/engine.ts'
import { type Explanation, type PolicyVerdict, explain } from '../../policy/explain.ts'
import { type Documents, type PolicySet, checkDocuments } from '../../policy/policy-set.ts'
import type { PolicyRequest } from '../../policy/facts.ts'
import { type Command, type Context, UsageError, stringFlag } from '../../terminal/command.ts'
import { PLACE_FLAGS } from '../../terminal/contexts.ts'
import { CANDIDATE_FLAGS, loadCandidate, loadPolicyPath } from '../with-policies.ts'

async function checked(context: Context, documents: Documents): Promise<PolicySet> {
  const { warnings, ...set } = await checkDocuments(documents)
  for (const { path, message } of warnings) context.output.note(`warning: ${path}: ${message}`)
  return set
}

export const policyCheck: Command = {
  operands: ['PATH'],
  flags: {},
  examples: ['latchkey policy check s3.cedar', 'latchkey policy check policies/'],
  async run(context) {
    const [path = ''] = context.operands
    const documents = await loadPolicyPath(path)
    const { policies } = await checked(context, documents)
    const counts = `${String(policies.length)} policies in ${String(documents.size)} documents`
    context.output.result(`${counts} are valid`, {
      ...{ valid: true, documents: [...documents.keys()] },
      policies: policies.map(({ id, json }) => ({ id, effect: json.effect })),
    })
  },
}

export const policyTest: Command = {
  operands: ['CASES'],
  flags: { ...CANDIDATE_FLAGS, ...PLACE_FLAGS },
  examples: [
    'latchkey policy test cases.yaml --policies policies/',
    'latchkey policy test cases.yaml --shadow',
  ],
  async run(context) {
    const [file = ''] = context.operands
    const cases = parseCases(file, await readFile(file, 'utf8'), clock.now())
    const set = await checked(context, await loadCandidate(context))
    const decide = (request: PolicyRequest) => decidePlainly(set, request)
    const results = cases.map((one) => judgeCase(one, decide))
    const failed = results.filter(({ passed }) => !passed)
    context.output.result(results.map(toLine).join('\n'), {
      ...{ passed: results.length - failed.length, failed: failed.length, cases: results },
    })
    if (failed.length === 0) return
    throw new PolicyError(
      'POLICY_TESTS_FAILED',
      `${String(failed.length)} of ${String(results.length)} test cases failed`,
    )
  },
}

function toLine({ name, passed, expect, decision }: CaseResult): string {
  const found = passed ? '' : `: expected ${expect}`
  return `${passed ? 'ok    ' : 'FAILED'} ${name}${found}: ${describe(decision)}`
}

function describe({ denial, policies }: Decision): string {
  const by = policies.length === 0 ? '' : ` by ${policies.join(', ')}`
  if (denial === undefined) return `allow${by === '' ? ', because there are no policies' : by}`
  return denial === 'POLICY_DEFAULT' ? 'deny: no policy permits it' : `deny (${denial})${by}`
}

export const policyExplain: Command = {
  operands: ['REQUEST'],
  flags: {
    log: {
      type: 'string',
      value: 'FILE',
      description: 'Request log to search for REQUEST, which is then a kmsRequestId.',
    },
    all: { type: 'boolean', description: 'Show every policy, not only those that almost applied.' },
    ...CANDIDATE_FLAGS,
    ...PLACE_FLAGS,
  },
  examples: [
    'latchkey policy explain request.yaml --policies policies/',
    'latchkey policy explain 0c9f… --log /var/log/latchkey.log',
  ],
  async run(context) {
    const [operand = ''] = context.operands
    const log = stringFlag(context, 'log')
    const request =
      log === undefined
        ? parseRequest(operand, await readFile(operand, 'utf8'), clock.now())
        : await findInLog(context, resolve(dirname('.'), log), operand)
    const set = await checked(context, await loadCandidate(context))
    if (set.policies.length === 0) {
      context.output.result('allow: there are no policies', { decision: 'allow', policies: [] })
      return
    }
    const found = explain(set, request)
    context.output.result(toText(found, context.flags['all'] === true), {
      ...found,
      ...found.decision,
      decision: found.decision.denial === undefined ? 'allow' : 'deny',
    })
  },
}

function toText({ decision, deciding, almost, others, request }: Explanation, showsAll: boolean) {
  const { principal, action, resource } = request
  return [
    describe(decision),
    `  principal ${JSON.stringify(principal)}`,
    `  action    ${JSON.stringify(action)}`,
    `  resource  ${JSON.stringify(resource)}`,
    `  context   ${JSON.stringify(request.context)}`,
    ...section('decided:', deciding),
    ...section('almost applied:', almost),
    ...(showsAll ? section('others:', others) : []),
  ].join('\n')
}

function section(heading: string, verdicts: readonly PolicyVerdict[]): readonly string[] {
  if (verdicts.length === 0) return []
  return [
    heading,
    ...verdicts.flatMap(({ id, place, effect, outcome, missing }) => [
      `  ${effect} ${id} (${place}) ${outcome}`,
      ...missing.map((part) => `    not: ${part}`),
    ]),
  ]
}

/** Returns the newest log line with the id. @throws UsageError */
async function findInLog(context: Context, file: string, id: string): Promise<PolicyRequest> {
  let found: PolicyRequest | undefined
  // Reads line by line, because a log may not fit into memory.
  for await (const text of createInterface({ input: createReadStream(file) })) {
    if (!text.includes(id)) continue
    const line = parseJson(text)
    if (line?.['kmsRequestId'] === id) found = parseLogLine(line) ?? found
  }
  if (found === undefined) {
    throw new UsageError('INPUT_INVALID', `no request for a key in ${file} has the id ${id}`)
  }
  context.output.note(
    'the log has no sizes, credential age or TLS version: they are treated as absent',
  )
  return found
}

function parseJson(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return JSON.parse(text) as Readonly<Record<string, unknown>>
  } catch {
    // The line is from another program, or was cut off.
    return undefined
  }
}
