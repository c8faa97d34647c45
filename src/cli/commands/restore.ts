/** Implements `latchkey restore`, `restore approve`, `restore withdraw`. */
// SPDX-License-Identifier: Apache-2.0
import { describeScope } from '../../core/scope.ts'
import { type Switch } from '../../killswitch/model.ts'
import type { RestoreOrder, RestoreOutcome } from '../../killswitch/operator/restore.ts'
import type { Operator } from '../../killswitch/operator/service.ts'
import {
  ADD_YES,
  CONFIG_FLAG,
  type Command,
  type Context,
  UsageError,
  YES_FLAG,
  stringFlag,
} from '../../terminal/command.ts'
import {
  DIRECTION_FLAG,
  REASON_FLAGS,
  SCOPE_FLAGS,
  parseDirection,
  parseActor,
  parseReason,
  parseScope,
} from '../../terminal/flags/scope.ts'
import { CONTEXT_FLAG } from '../../terminal/contexts.ts'
import type { Output } from '../../terminal/output.ts'
import { type Place, withOperator } from '../operator.ts'

const { operator } = REASON_FLAGS

export const restore: Command = {
  flags: {
    switch: { type: 'string', value: 'ID', description: 'Id of the switch to lift.' },
    ...SCOPE_FLAGS,
    ...DIRECTION_FLAG,
    ...REASON_FLAGS,
    ...YES_FLAG,
    ...CONTEXT_FLAG,
    ...CONFIG_FLAG,
  },
  examples: [
    'latchkey restore --key-store payroll --reason "contract renewed"',
    'latchkey restore --switch 0f3a5c7d9e1b --reason "incident 4711 is over" --yes',
  ],
  async run(context) {
    await withOperator(context, async (control, place) => {
      const order: RestoreOrder = { target: parseTarget(context, place), ...parseReason(context) }
      if (context.flags['yes'] !== true) {
        const found = await control.previewRestore(order.target)
        const text = context.output.fold(`would lift:\n${toLines(found)}\n${ADD_YES}`)
        context.output.result(text, { wouldRestore: found, done: false })
        return
      }
      report(context.output, await control.restore(order))
    })
  },
}

export const restoreApprove: Command = {
  operands: ['REQUEST'],
  flags: { operator, ...YES_FLAG, ...CONTEXT_FLAG, ...CONFIG_FLAG },
  examples: [
    'latchkey restore approve 5ac0ffee',
    'latchkey restore approve 5ac0ffee --operator bob --yes',
  ],
  async run(context) {
    await withOperator(context, async (control) => {
      const [id = ''] = context.operands
      if (context.flags['yes'] !== true) {
        await showRequest(context, control, id)
        return
      }
      report(context.output, await control.approve({ id, ...parseActor(context) }))
    })
  },
}

/** @throws UsageError for a request that is not pending */
async function showRequest(context: Context, control: Operator, id: string): Promise<void> {
  const { requests } = await control.status(0)
  const request = requests.find((one) => one.id === id)
  if (request === undefined) {
    throw new UsageError('INPUT_INVALID', `there is no pending request ${id}`, {
      hint: 'run latchkey status to see the pending requests',
    })
  }
  const { operator, reason, expiresAt } = request
  const until = new Date(expiresAt).toISOString()
  const text = `would approve ${id}, requested by ${operator}: ${reason}\nThe request expires at ${until}. ${ADD_YES}`
  context.output.result(context.output.fold(text), { wouldApprove: request, done: false })
}

export const restoreWithdraw: Command = {
  operands: ['REQUEST'],
  flags: { ...REASON_FLAGS, ...CONTEXT_FLAG, ...CONFIG_FLAG },
  examples: ['latchkey restore withdraw 5ac0ffee --reason "requested by mistake"'],
  async run(context) {
    const by = parseReason(context)
    await withOperator(context, async (control) => {
      const [id = ''] = context.operands
      await control.withdraw({ id, ...by })
      context.output.result(`withdrawn ${id}`, { state: 'withdrawn', request: id })
    })
  },
}

function parseTarget(context: Context, config: Place): RestoreOrder['target'] {
  const id = stringFlag(context, 'switch')
  if (id !== undefined) return { id }
  const direction = parseDirection(context)
  return { scope: parseScope(context, config), ...(direction === undefined ? {} : { direction }) }
}

function report(output: Output, outcome: RestoreOutcome): void {
  if (outcome.state === 'restored') {
    output.result(
      `restored at epoch ${String(outcome.epoch)}:\n${toLines(outcome.switches)}`,
      outcome,
    )
    return
  }
  const { id, readyAt, expiresAt } = outcome.request
  const who = outcome.needsApproval ? ', as a second person' : ''
  output.result(
    `requested as ${id}; nothing has been lifted yet. Run this command at ${new Date(readyAt).toISOString()} or later${who}:\n  latchkey restore approve ${id} --yes\nThe request expires at ${new Date(expiresAt).toISOString()}.`,
    outcome,
  )
}

function toLines(switches: readonly Switch[]): string {
  return switches
    .map(
      ({ id, scope, direction, reason, operator }) =>
        `  ${id}  ${describeScope(scope)}, ${direction}: ${reason} (${operator})`,
    )
    .join('\n')
}
