/** Implements `latchkey operators add | group | list | remove`. */
// SPDX-License-Identifier: Apache-2.0
import { ROLES, type AdminRole } from '../../core/role.ts'
import type { OperatorOrder } from '../../admin/operators/directory.ts'
import {
  ADD_YES,
  type Command,
  type Context,
  UsageError,
  YES_FLAG,
  stringFlag,
} from '../../terminal/command.ts'
import { PLACE_FLAGS } from '../../terminal/contexts.ts'
import { parseOperator } from '../../terminal/flags/scope.ts'
import { withOperators } from '../with-administration.ts'

const ROLE_FLAGS = {
  role: {
    type: 'string',
    value: 'ROLE',
    description: 'Role: viewer, auditor, operator, custodian or admin.',
  },
  'key-stores': {
    type: 'string',
    value: 'NAMES',
    description: 'Key stores that the role is limited to, separated by commas (default: all).',
  },
} as const

export const operatorsAdd: Command = {
  operands: ['NAME'],
  flags: {
    ...ROLE_FLAGS,
    groups: {
      type: 'string',
      value: 'NAMES',
      description: 'Groups whose roles the operator also has, separated by commas.',
    },
    ...YES_FLAG,
    ...PLACE_FLAGS,
  },
  examples: [
    'latchkey operators add alice --role operator',
    'latchkey operators add bob --groups night-shift --yes',
    'latchkey operators add carol --role custodian --key-stores payroll --yes',
  ],
  run: (context) => put(context, 'person', toList(context, 'groups') ?? []),
}

export const operatorsGroup: Command = {
  operands: ['NAME'],
  flags: { ...ROLE_FLAGS, ...YES_FLAG, ...PLACE_FLAGS },
  examples: [
    'latchkey operators group night-shift --role operator --key-stores payroll,archive',
    'latchkey operators group night-shift --role operator --yes',
  ],
  run: (context) => put(context, 'group', []),
}

async function put(
  context: Context,
  kind: OperatorOrder['kind'],
  groups: readonly string[],
): Promise<void> {
  const [name = ''] = context.operands
  const role = parseRole(context)
  const keyStores = toList(context, 'key-stores')
  if (keyStores !== undefined && role === undefined) {
    throw new UsageError('USAGE', '--key-stores requires --role')
  }
  const order = {
    ...{ name, kind, groups },
    ...(role === undefined ? {} : { role }),
    ...(keyStores === undefined ? {} : { keyStores }),
  }
  if (context.flags['yes'] !== true) {
    const all = await withOperators(context, ({ operators }) => operators())
    const existing = all.find((one) => one.name === name)
    const what =
      existing === undefined
        ? `add ${name}: ${describe(order)}`
        : `change ${name} from ${describe(existing)} to ${describe(order)}`
    const text = context.output.fold(`would ${what}. ${ADD_YES}`)
    context.output.result(text, { wouldPut: order, ...(existing && { existing }), done: false })
    return
  }
  const done = await withOperators(context, ({ put }) => put(order, parseOperator(context)))
  context.output.result(`${name}: ${describe(done)}`, done)
}

export const operatorsList: Command = {
  flags: PLACE_FLAGS,
  examples: ['latchkey operators list'],
  async run(context) {
    const all = await withOperators(context, ({ operators }) => operators())
    const rows = all.map((one) => [
      ...[one.name, one.kind, one.role ?? '-', one.keyStores?.join(',') ?? 'all'],
      ...[one.groups.join(',') || '-', new Date(one.createdAt).toISOString(), one.createdBy],
    ])
    const headings = ['NAME', 'KIND', 'ROLE', 'KEY STORES', 'GROUPS', 'SINCE', 'BY']
    const text =
      rows.length === 0
        ? 'no operators in the store; add one with latchkey operators add'
        : context.output.table(headings, rows)
    context.output.result(text, all)
  },
}

export const operatorsRemove: Command = {
  operands: ['NAME'],
  flags: { ...YES_FLAG, ...PLACE_FLAGS },
  examples: ['latchkey operators remove alice --yes'],
  async run(context) {
    const [name = ''] = context.operands
    const isDone = context.flags['yes'] === true
    await withOperators(context, async ({ operators, remove }) => {
      if (isDone) await remove(name, parseOperator(context))
      else if (!(await operators()).some((one) => one.name === name)) {
        throw new UsageError('INPUT_INVALID', `there is no operator or group ${name}`)
      }
    })
    if (isDone) context.output.result(`removed ${name}`, { removed: name, done: true })
    else {
      const text = `would remove ${name} and revoke its tokens. ${ADD_YES}`
      context.output.result(text, { wouldRemove: name, done: false })
    }
  },
}

function describe({ kind, role, keyStores, groups }: Omit<OperatorOrder, 'name'>): string {
  const own =
    role === undefined
      ? []
      : [keyStores === undefined ? role : `${role} of ${keyStores.join(', ')}`]
  const inherited = groups.map((group) => `member of ${group}`)
  const parts = [...(kind === 'group' ? ['group'] : []), ...own, ...inherited]
  return parts.length === 0 ? 'no role' : parts.join(', ')
}

function toList(context: Context, name: string): readonly string[] | undefined {
  return stringFlag(context, name)?.split(',')
}

function parseRole(context: Context): AdminRole | undefined {
  const text = stringFlag(context, 'role')
  const role = ROLES.find((one) => one === text)
  if (text === undefined || role !== undefined) return role
  throw new UsageError('INPUT_INVALID', `unknown role ${text}: expected ${ROLES.join(', ')}`)
}
