/**
 * Implements `latchkey policy put | delete | promote | discard | rollback`, which change the
 * store's policies.
 */
// SPDX-License-Identifier: Apache-2.0
import type { AppliedChange } from '../../admin/administration.ts'
import { systemClock as clock } from '../../core/clock.ts'
import { documentNameOf } from '../../policy/policy-files.ts'
import { checkDocuments } from '../../policy/policy-set.ts'
import type { PlannedChange, PolicyChange } from '../../policy/policy-table.ts'
import { type Simulation, simulate } from '../../policy/recorded-usage.ts'
import {
  type Command,
  type Context,
  type Flag,
  UsageError,
  YES_FLAG,
  stringFlag,
} from '../../terminal/command.ts'
import { PLACE_FLAGS } from '../../terminal/contexts.ts'
import { REASON_FLAGS, parseReason } from '../../terminal/flags/scope.ts'
import { durationFlag } from '../../terminal/flags/time.ts'
import { withPolicies } from '../with-administration.ts'
import { loadPolicyPath } from '../with-policies.ts'

const WAIT_FLAGS = {
  wait: {
    type: 'boolean',
    description: 'Wait until every instance applies the change (the default).',
  },
  'no-wait': {
    type: 'boolean',
    description: 'Return once the change is committed, without waiting for the instances.',
  },
  timeout: {
    type: 'string',
    value: 'TIME',
    description: 'How long to wait for the instances (default: 30s plus the lease).',
  },
} as const satisfies Record<string, Flag>

const SHADOW_FLAG = {
  shadow: {
    type: 'boolean',
    description:
      'Put the policies in shadow mode: log and count what they would refuse, without refusing any request.',
  },
} as const satisfies Record<string, Flag>

const FLAGS = { ...REASON_FLAGS, ...WAIT_FLAGS, ...YES_FLAG, ...PLACE_FLAGS }

export const policyPut: Command = {
  operands: ['PATH'],
  flags: {
    name: {
      type: 'string',
      value: 'NAME',
      description: 'Document name (default: the file name without .cedar or .yaml).',
    },
    ...SHADOW_FLAG,
    ...FLAGS,
  },
  examples: [
    'latchkey policy put s3.cedar --shadow --reason "try out" --yes',
    'latchkey policy put policies/ --reason "first policies" --yes --wait',
  ],
  async run(context) {
    const [path = ''] = context.operands
    const given = await loadPolicyPath(path)
    const name = stringFlag(context, 'name')
    const [only, ...more] = given.values()
    if (name !== undefined && (more.length > 0 || only === undefined)) {
      throw new UsageError('USAGE', '--name can only be used with a single file')
    }
    if (only === undefined) throw new UsageError('INPUT_INVALID', `no policies in ${path}`)
    const documents = name === undefined ? given : new Map([[documentNameOf(name), only]])
    await change(context, { kind: 'put', documents, mode: modeOf(context) })
  },
}

export const policyDelete: Command = {
  operands: ['NAME'],
  flags: { ...SHADOW_FLAG, ...FLAGS },
  examples: ['latchkey policy delete s3 --reason "no longer needed" --yes'],
  async run(context) {
    const [name = ''] = context.operands
    await change(context, { kind: 'delete', name, mode: modeOf(context) })
  },
}

export const policyPromote: Command = {
  flags: FLAGS,
  examples: ['latchkey policy promote --reason "a week without surprises" --yes'],
  run: (context) => change(context, { kind: 'promote' }),
}

export const policyDiscard: Command = {
  flags: FLAGS,
  examples: ['latchkey policy discard --reason "refuses too much" --yes'],
  run: (context) => change(context, { kind: 'discard' }),
}

export const policyRollback: Command = {
  operands: ['REVISION'],
  flags: FLAGS,
  examples: ['latchkey policy rollback 3 --reason "as it was on Monday" --yes'],
  async run(context) {
    const [text = ''] = context.operands
    if (!/^\d{1,9}$/.test(text)) {
      throw new UsageError('INPUT_INVALID', `expected a revision number, found ${text}`, {
        hint: 'run latchkey policy history to see the revisions',
      })
    }
    await change(context, { kind: 'rollback', revision: Number(text) })
  },
}

function modeOf({ flags }: Context) {
  return flags['shadow'] === true ? 'shadow' : 'enforce'
}

/** Period of recorded usage against which a change is checked before it is written. */
const LOOK_BACK_MS = 7 * 86_400_000

async function change(context: Context, order: PolicyChange): Promise<void> {
  const { wait, 'no-wait': noWait, yes } = context.flags
  if (wait === true && noWait === true)
    throw new UsageError('USAGE', '--wait and --no-wait cannot be combined')
  const { reason, operator } = parseReason(context)
  const timeout = stringFlag(context, 'timeout')
  const patience = timeout === undefined ? {} : { patienceMs: durationFlag(context, 'timeout', 0) }
  await withPolicies(context, async (policies) => {
    const plan = await policies.plan(order)
    const { warnings, ...enforced } = await checkDocuments(plan.after.enforced)
    const shadow = plan.after.shadow && (await checkDocuments(plan.after.shadow))
    for (const { path, message } of [...warnings, ...(shadow?.warnings ?? [])])
      context.output.note(`warning: ${path}: ${message}`)
    const { usage } = await policies.usage(clock.now() - LOOK_BACK_MS)
    const expected = simulate(shadow ?? enforced, usage)
    if (yes !== true) {
      const text = `would ${describe(order, plan)}\n${toOutlook(expected, shadow !== undefined)}\nAdd --yes to do it.`
      context.output.result(text, { ...toJson(plan), simulation: expected, done: false })
      return
    }
    const revision = `revision ${String(plan.after.revision)}`
    const done = (epoch: number) => `${revision}, epoch ${String(epoch)}: ${describe(order, plan)}`
    const by = { kind: order.kind, operator, reason }
    const { epoch, revocation } = await policies.apply(plan, by, {
      wait: noWait !== true,
      ...patience,
      onWritten: (written) => {
        if (noWait !== true)
          context.output.note(`written: ${done(written)}; waiting for the instances`)
      },
    })
    if (revocation === undefined) {
      const json = { ...toJson(plan), epoch, state: 'written' }
      context.output.result(`written: ${done(epoch)}`, json)
      return
    }
    context.output.result(toText(done(epoch), revocation), {
      ...{ ...toJson(plan), state: 'in force', epoch },
      ...{ instances: revocation.instances, elapsedMs: revocation.elapsedMs, done: true },
    })
  })
}

function toText(
  done: string,
  { instances, elapsedMs }: NonNullable<AppliedChange['revocation']>,
): string {
  const ended = instances.filter(({ how }) => how !== 'acknowledged')
  const lost = ended.map(({ host, pid, how }) => `\n  ${host} pid ${String(pid)}: ${how}`)
  const count = `${String(instances.length - ended.length)} of ${String(instances.length)} instances`
  return `in force after ${elapsedMs.toFixed(0)} ms on ${count}: ${done}${lost.join('')}`
}

function describe(order: PolicyChange, { entries }: PlannedChange): string {
  const names = entries.map(({ name, text }) =>
    text === undefined ? `delete ${name}` : `put ${name}`,
  )
  switch (order.kind) {
    case 'put':
    case 'delete':
      return `${names.join(', ')}${order.mode === 'shadow' ? ' in shadow mode' : ''}`
    case 'promote':
      return `promote the policies in shadow mode: ${names.join(', ')}`
    case 'discard':
      return `discard the policies in shadow mode: ${entries.map(({ name }) => name).join(', ')}`
    case 'rollback':
      return `roll back to revision ${String(order.revision)}: ${names.join(', ')}`
  }
}

function toOutlook(found: Simulation, isShadow: boolean): string {
  const { requests, wouldBeRefused, uncertain } = found
  if (requests === 0)
    return 'no requests were recorded in the last seven days, so the effect of the change is unknown'
  const unsure = uncertain === 0 ? '' : `; ${String(uncertain)} depend on data that is not recorded`
  return (
    `of ${String(requests)} requests in the last seven days, ${isShadow ? 'the policies in shadow mode' : 'the change'} ` +
    `would refuse ${String(wouldBeRefused)} that succeeded${unsure}; to see them, run latchkey policy simulate`
  )
}

function toJson({ before, after, entries }: PlannedChange) {
  return {
    ...{ from: before.revision, revision: after.revision },
    changes: entries.map(({ name, mode, text }) => ({ name, mode, isDeleted: text === undefined })),
    documents: [...after.enforced.keys()],
    ...(after.shadow === undefined ? {} : { shadow: [...after.shadow.keys()] }),
  }
}
