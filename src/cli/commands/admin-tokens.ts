/** Implements `latchkey admin tokens create | list | revoke`. */
// SPDX-License-Identifier: Apache-2.0
import { ADD_YES, type Command, UsageError, YES_FLAG, stringFlag } from '../../terminal/command.ts'
import { PLACE_FLAGS } from '../../terminal/contexts.ts'
import { writePrivateFile } from '../../terminal/files.ts'
import { parseOperator } from '../../terminal/flags/scope.ts'
import { parseFuture } from '../../terminal/flags/time.ts'
import { withOperators } from '../with-administration.ts'

export const adminTokensCreate: Command = {
  operands: ['OPERATOR'],
  flags: {
    expires: {
      type: 'string',
      value: 'WHEN',
      description:
        'Expiry time: a duration from now such as 90d or 12h, or a date such as 2027-01-31 (default: none).',
    },
    output: {
      type: 'string',
      value: 'FILE',
      description: 'Write the token to a new file, mode 0600, instead of printing it.',
    },
    ...PLACE_FLAGS,
  },
  examples: ['latchkey admin tokens create alice --expires 90d --output alice.token'],
  async run(context) {
    const [operator = ''] = context.operands
    const expires = stringFlag(context, 'expires')
    const order = {
      operator,
      ...(expires === undefined ? {} : { expiresAt: parseFuture(expires) }),
    }
    const file = stringFlag(context, 'output')
    const { id } = await withOperators(context, async ({ createToken, revokeToken }) => {
      const by = parseOperator(context)
      const created = await createToken(order, by)
      const token = created.token.reveal()
      if (file === undefined) {
        context.output.result(`token  ${token}\n       shown only once; its id is ${created.id}`, {
          ...{ id: created.id, operator, token },
        })
        return created
      }
      try {
        await writePrivateFile(file, `${token}\n`)
      } catch (error) {
        // Revoke the token, which is useless because it was never shown.
        await revokeToken(created.id, by)
        throw error
      }
      return created
    })
    if (file !== undefined) {
      context.output.result(`created token ${id} for ${operator} in ${file}`, {
        id,
        operator,
        file,
      })
    }
  },
}

export const adminTokensList: Command = {
  flags: PLACE_FLAGS,
  examples: ['latchkey admin tokens list'],
  async run(context) {
    const all = await withOperators(context, ({ tokens }) => tokens())
    const rows = all.map((one) => [
      ...[one.id, one.operator, one.status, toDate(one.createdAt)],
      ...[one.isPersonal ? one.createdBy : `${one.createdBy} (listener)`],
      ...[toDate(one.expiresAt), String(one.uses), toDate(one.lastUsedAt)],
    ])
    const headings = ['ID', 'OPERATOR', 'STATUS', 'CREATED', 'BY', 'EXPIRES', 'USES', 'LAST USED']
    const text =
      rows.length === 0
        ? 'no tokens in the store; add one with latchkey admin tokens create'
        : context.output.table(headings, rows)
    context.output.result(text, all)
  },
}

export const adminTokensRevoke: Command = {
  operands: ['ID'],
  flags: { ...YES_FLAG, ...PLACE_FLAGS },
  examples: ['latchkey admin tokens revoke 0f3a5c7d9e1b --yes'],
  async run(context) {
    const [id = ''] = context.operands
    const isDone = context.flags['yes'] === true
    await withOperators(context, async ({ tokens, revokeToken }) => {
      if (isDone) await revokeToken(id, parseOperator(context))
      else if (!(await tokens()).some((one) => one.id === id)) {
        throw new UsageError('INPUT_INVALID', `there is no token ${id}`)
      }
    })
    if (isDone) context.output.result(`revoked ${id}`, { revoked: id, done: true })
    else {
      const text = `would revoke ${id}: every admin listener would refuse it. ${ADD_YES}`
      context.output.result(text, { wouldRevoke: id, done: false })
    }
  },
}

function toDate(time: number | undefined): string {
  return time === undefined ? '-' : new Date(time).toISOString()
}
