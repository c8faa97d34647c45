/** Flags for the scope of a kill switch, shared by `kill` and `restore`. */
// SPDX-License-Identifier: Apache-2.0
import { userInfo } from 'node:os'
import { parseExternalKeyId } from '../../core/ids.ts'
import { toRemark } from '../../core/remark.ts'
import type { Criteria, Direction, Scope } from '../../core/scope.ts'
import type { Actor } from '../../killswitch/model.ts'
import {
  findKeyStore,
  stringFlag,
  UsageError,
  type Context,
  type Flag,
  type KeyStoreList,
} from '../command.ts'

export const SCOPE_FLAGS = {
  all: { type: 'boolean', description: 'All requests to all key stores.' },
  'key-store': {
    type: 'string',
    short: 's',
    value: 'NAME',
    description:
      'One key store. With --key or one of the flags below, only requests to this key store.',
  },
  key: { type: 'string', short: 'k', value: 'KEY_ID', description: 'One key of a key store.' },
  account: {
    type: 'string',
    value: 'ID',
    description: "Requests by this AWS account's principals, or for its KMS keys.",
  },
  principal: {
    type: 'string',
    value: 'PATTERN',
    description: 'Requests whose awsPrincipalArn matches PATTERN; * and ? are wildcards.',
  },
  'via-service': {
    type: 'string',
    value: 'PATTERN',
    description: 'Requests whose kmsViaService matches PATTERN, for example ebs.',
  },
  vpc: {
    type: 'string',
    value: 'PATTERN',
    description: 'Requests whose awsSourceVpc (for vpce-…: awsSourceVpce) matches PATTERN.',
  },
} as const satisfies Record<string, Flag>

export const DIRECTION_FLAG = {
  direction: {
    type: 'string',
    value: 'WHAT',
    description: 'Direction to stop: both, decrypt or encrypt (default: both).',
  },
} as const satisfies Record<string, Flag>

export const REASON_FLAGS = {
  reason: {
    type: 'string',
    short: 'r',
    value: 'TEXT',
    description: 'Reason, recorded permanently (required).',
  },
  operator: {
    type: 'string',
    value: 'NAME',
    description: 'Operator name to record (default: current OS user).',
  },
} as const satisfies Record<string, Flag>

const MAX_TEXT = 500

/** @throws UsageError if the flags name no scope, or two at once */
export function parseScope(
  context: Context,
  config: KeyStoreList<{ readonly name: string }>,
): Scope {
  const { all } = context.flags
  const key = stringFlag(context, 'key')
  const criteria = parseCriteria(context)
  const named = stringFlag(context, 'key-store')
  const keyStore = named === undefined ? undefined : findKeyStore(context, config).name
  const isMatch = Object.keys(criteria).length > 0
  if (all === true) {
    if (key !== undefined || named !== undefined || isMatch) {
      throw new UsageError('USAGE', '--all cannot be combined with other scopes')
    }
    return { kind: 'all' }
  }
  if (key !== undefined) {
    if (isMatch)
      throw new UsageError(
        'USAGE',
        '--key cannot be combined with --account, --principal, --via-service or --vpc',
      )
    if (parseExternalKeyId(key) === undefined) {
      throw new UsageError('INPUT_INVALID', `expected a key id, found ${key}`)
    }
    return { kind: 'key', keyStore: findKeyStore(context, config).name, keyId: key }
  }
  if (isMatch) {
    return { kind: 'match', criteria, ...(keyStore === undefined ? {} : { keyStore }) }
  }
  if (keyStore !== undefined) return { kind: 'key-store', keyStore }
  throw new UsageError(
    'USAGE',
    'no scope: pass --all, --key-store, --key, --account, --principal, --via-service or --vpc',
  )
}

function parseCriteria(context: Context): Criteria {
  const account = stringFlag(context, 'account')
  if (account !== undefined && !/^\d{12}$/.test(account)) {
    throw new UsageError('INPUT_INVALID', 'expected an AWS account id of twelve digits')
  }
  const fields = {
    account,
    principal: stringFlag(context, 'principal'),
    viaService: stringFlag(context, 'via-service'),
    vpc: stringFlag(context, 'vpc'),
  }
  return Object.fromEntries(
    Object.entries(fields).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, checkText(value, name)]],
    ),
  )
}

/** @throws UsageError */
export function parseDirection(context: Context): Direction | undefined {
  const text = stringFlag(context, 'direction')
  if (text === undefined || text === 'both' || text === 'decrypt' || text === 'encrypt') return text
  throw new UsageError(
    'INPUT_INVALID',
    `invalid direction ${text}: expected both, decrypt or encrypt`,
  )
}

/** @throws UsageError if the reason is missing */
export function parseReason(context: Context): Actor & { readonly reason: string } {
  const reason = stringFlag(context, 'reason')
  if (reason === undefined || reason.trim() === '') {
    throw new UsageError('USAGE', '--reason is missing')
  }
  return { reason: toRemark(reason), ...parseActor(context) }
}

/** The operator name can be any text, so the operating system user identifies the person. */
export function parseActor(context: Context): Actor {
  return { operator: parseOperator(context), identity: `os:${currentUser()}` }
}

export function parseOperator(context: Context): string {
  const given = toRemark(stringFlag(context, 'operator') ?? '')
  return given === '' ? toRemark(currentUser()) : given
}

/**
 * Returns the name of the current user, or the uid if there is none: containers run as users
 * without a passwd entry.
 */
function currentUser(): string {
  try {
    return userInfo().username
  } catch {
    return `uid ${String(process.getuid?.())}`
  }
}

/**
 * Rejects an invalid pattern instead of correcting it, because an altered pattern would match
 * different requests.
 */
function checkText(text: string, name: string): string {
  if (text === '' || text.length > MAX_TEXT || /[\u0000-\u001f\u007f]/.test(text)) {
    throw new UsageError(
      'INPUT_INVALID',
      `${name}: expected one line of 1 to ${String(MAX_TEXT)} characters`,
    )
  }
  return text
}
