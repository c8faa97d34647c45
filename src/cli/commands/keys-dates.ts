/**
 * Implements `latchkey keys dates`, and the flags that `keys create` and `keys import` use to set
 * dates.
 */
// SPDX-License-Identifier: Apache-2.0
import type { KeyDates, KeyDatesChange } from '../../keys/key-dates.ts'
import type { KeySummary } from '../../keys/administration.ts'
import {
  ADD_YES,
  BACKEND_FLAG,
  type Command,
  type Context,
  KEY_STORE_FLAG,
  UsageError,
  YES_FLAG,
  keyIdOperand,
  stringFlag,
} from '../../terminal/command.ts'
import { PLACE_FLAGS } from '../../terminal/contexts.ts'
import { parseWhen } from '../../terminal/flags/time.ts'
import { withAdministration } from '../with-administration.ts'

export const DATE_FLAGS = {
  'activate-at': {
    type: 'string',
    value: 'WHEN',
    description:
      'Activation date: a date, or a duration from now such as 30d. Before it, every request for the key is refused.',
  },
  'deactivate-at': {
    type: 'string',
    value: 'WHEN',
    description:
      'Deactivation date, in the same formats. From then on, Encrypt is refused and Decrypt still works.',
  },
} as const

/** Value of a date flag that removes the date. */
const NONE = 'none'

function parseDate(context: Context, name: keyof typeof DATE_FLAGS): number | null | undefined {
  const text = stringFlag(context, name)
  if (text === undefined) return undefined
  return text === NONE ? null : parseWhen(text)
}

/** Returns the dates of a new key; undefined if it has none. @throws UsageError */
export function parseDates(context: Context): KeyDates | undefined {
  const activateAt = parseDate(context, 'activate-at') ?? undefined
  const deactivateAt = parseDate(context, 'deactivate-at') ?? undefined
  if (activateAt === undefined && deactivateAt === undefined) return undefined
  return {
    ...(activateAt !== undefined && { activateAt }),
    ...(deactivateAt !== undefined && { deactivateAt }),
  }
}

export const keysDates: Command = {
  operands: ['KEY_ID'],
  flags: {
    'activate-at': {
      ...DATE_FLAGS['activate-at'],
      description: `${DATE_FLAGS['activate-at'].description} \`none\` removes it.`,
    },
    'deactivate-at': {
      ...DATE_FLAGS['deactivate-at'],
      description: `${DATE_FLAGS['deactivate-at'].description} \`none\` removes it.`,
    },
    ...YES_FLAG,
    ...KEY_STORE_FLAG,
    ...BACKEND_FLAG,
    ...PLACE_FLAGS,
  },
  examples: [
    'latchkey keys dates payroll-2026',
    'latchkey keys dates payroll-2026 --activate-at 2027-01-01 --deactivate-at 2028-01-01 --yes',
    'latchkey keys dates payroll-2026 --deactivate-at none --yes',
  ],
  async run(context) {
    const keyId = keyIdOperand(context)
    const activateAt = parseDate(context, 'activate-at')
    const deactivateAt = parseDate(context, 'deactivate-at')
    const change: KeyDatesChange = {
      ...(activateAt !== undefined && { activateAt }),
      ...(deactivateAt !== undefined && { deactivateAt }),
    }
    const isChange = Object.keys(change).length > 0
    const isSure = context.flags['yes'] === true
    const key = await withAdministration(context, async ({ keys }, keyStore) => {
      if (isChange && isSure) return keys(keyStore).setKeyDates(keyId, change)
      return (await keys(keyStore).listKeys()).find((one) => one.keyId === keyId)
    })
    if (key === undefined) throw new UsageError('INPUT_INVALID', `there is no key ${keyId}`)
    if (!isChange || isSure) {
      context.output.result(describeDates(key), key)
      return
    }
    const lines = [
      `would change the dates of ${describeDates(key)}`,
      ...(['activateAt', 'deactivateAt'] as const).flatMap((name) => {
        const value = change[name]
        return value === undefined ? [] : [`  to ${NAMES[name]} ${toText(value ?? undefined)}`]
      }),
      ADD_YES,
    ]
    context.output.result(lines.join('\n'), { would: change, key, done: false })
  },
}

const NAMES = { activateAt: 'activation', deactivateAt: 'deactivation' } as const

const toText = (at: number | undefined) => (at === undefined ? NONE : new Date(at).toISOString())

function describeDates({ keyId, activateAt, deactivateAt, dateState }: KeySummary): string {
  const state = dateState === undefined ? '' : ` (${dateState})`
  return `${keyId}: activation ${toText(activateAt)}, deactivation ${toText(deactivateAt)}${state}`
}
