/**
 * Implements `latchkey deadman start | renew | close | end`, for key stores that close unless their
 * owner renews the dead man's switch.
 */
// SPDX-License-Identifier: Apache-2.0
import type { DeadManOrder, DeadManOutcome } from '../../killswitch/operator/dead-man-switch.ts'
import type { Operator } from '../../killswitch/operator/service.ts'
import {
  ADD_YES,
  CONFIG_FLAG,
  type Command,
  type Context,
  KEY_STORE_FLAG,
  UsageError,
  YES_FLAG,
  findKeyStore,
  stringFlag,
} from '../../terminal/command.ts'
import { CONTEXT_FLAG } from '../../terminal/contexts.ts'
import { REASON_FLAGS, parseReason } from '../../terminal/flags/scope.ts'
import { withOperator } from '../operator.ts'

const FLAGS = { ...KEY_STORE_FLAG, ...REASON_FLAGS, ...CONTEXT_FLAG, ...CONFIG_FLAG }
const TTL_FLAG = {
  for: {
    type: 'string',
    value: 'TIME',
    description: 'How long the key store stays open without a renewal, such as 90s, 15m, 8h or 7d.',
  },
} as const

/**
 * --yes is required to reopen a key store or to extend its time. Other changes do not require it.
 */
const REOPEN_FLAG = {
  yes: {
    type: 'boolean',
    short: 'y',
    description: 'Also open the key store if it is closed, or extend the time that it stays open.',
  },
} as const

export const deadmanStart: Command = {
  flags: { ...TTL_FLAG, ...REOPEN_FLAG, ...FLAGS },
  examples: ['latchkey deadman start --key-store payroll --for 15m --reason "vendor on probation"'],
  run: (context) =>
    withSwitch(context, (control, order) => {
      const ttlMs = parseTtl(context)
      if (ttlMs === undefined) throw new UsageError('USAGE', '--for is missing')
      return control.startDeadMan({ ...order, ttlMs })
    }),
}

export const deadmanRenew: Command = {
  flags: { ...TTL_FLAG, ...REOPEN_FLAG, ...FLAGS },
  examples: ['latchkey deadman renew --key-store payroll --reason "all is well"'],
  run: (context) =>
    withSwitch(context, (control, order) => {
      const ttlMs = parseTtl(context)
      return control.renewDeadMan({ ...order, ...(ttlMs === undefined ? {} : { ttlMs }) })
    }),
}

export const deadmanClose: Command = {
  flags: FLAGS,
  examples: ['latchkey deadman close --key-store payroll --reason "office closed"'],
  run: (context) => withSwitch(context, (control, order) => control.closeDeadMan(order)),
}

export const deadmanEnd: Command = {
  flags: { ...YES_FLAG, ...FLAGS },
  examples: ['latchkey deadman end --key-store payroll --reason "probation is over" --yes'],
  run: (context) =>
    withSwitch(context, async (control, order) => {
      if (context.flags['yes'] !== true) {
        context.output.result(
          `would end the dead man's switch: ${order.keyStore} would be open without renewals. ${ADD_YES}`,
          {
            wouldEnd: order.keyStore,
            done: false,
          },
        )
        return undefined
      }
      return control.endDeadMan(order)
    }),
}

async function withSwitch(
  context: Context,
  work: (killSwitch: Operator, order: DeadManOrder) => Promise<DeadManOutcome | undefined>,
): Promise<void> {
  await withOperator(context, async (killSwitch, place) => {
    const keyStore = findKeyStore(context, place).name
    const mayRestore = context.flags['yes'] === true
    const order = { keyStore, mayRestore, ...parseReason(context) }
    const outcome = await work(killSwitch, order)
    if (outcome !== undefined) context.output.result(toText(keyStore, outcome), outcome)
  })
}

function toText(keyStore: string, outcome: DeadManOutcome): string {
  if (outcome.state === 'requested') {
    const { id, readyAt } = outcome.request
    const who = outcome.needsApproval ? ', as a second person' : ''
    return `requested as ${id}; nothing has changed yet. Run this command at ${new Date(readyAt).toISOString()} or later${who}:
  latchkey restore approve ${id} --yes`
  }
  const { deadManSwitch: written } = outcome
  if (written === undefined) return `${keyStore} is open without renewals`
  const isOpen = written.openUntil > written.renewedAt
  const until = new Date(written.openUntil).toISOString()
  return isOpen ? `${keyStore} is open until ${until}` : `${keyStore} is closed`
}

const UNITS: ReadonlyMap<string, number> = new Map([
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
])

function parseTtl(context: Context): number | undefined {
  const text = stringFlag(context, 'for')
  if (text === undefined) return undefined
  const [, count, unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  const ttlMs = Number(count) * (UNITS.get(unit) ?? NaN)
  if (!(ttlMs > 0))
    throw new UsageError(
      'INPUT_INVALID',
      `invalid time ${text}: expected a duration such as 15m or 8h`,
    )
  return ttlMs
}
