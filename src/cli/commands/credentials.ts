/** Implements `latchkey credentials list | expire | revoke`. */
// SPDX-License-Identifier: Apache-2.0
import type { KeyStoreAdministration } from '../../admin/administration.ts'
import type { CredentialSummary } from '../../sigv4/credential-table.ts'
import {
  ADD_YES,
  UsageError,
  YES_FLAG,
  findKeyStore,
  stringFlag,
  type Command,
} from '../../terminal/command.ts'
import { PLACE_FLAGS } from '../../terminal/contexts.ts'
import { withDesk } from '../with-administration.ts'
import { parseWhen } from '../../terminal/flags/time.ts'

export const credentialsList: Command = {
  flags: {
    'key-store': {
      type: 'string',
      short: 's',
      value: 'NAME',
      description: 'List only credentials of this key store.',
    },
    ...PLACE_FLAGS,
  },
  examples: ['latchkey credentials list', 'latchkey credentials list --key-store demo --json'],
  async run(context) {
    const only = stringFlag(context, 'key-store')
    const shown = await withDesk(context, async ({ credentials, credentialUses }, place) => {
      const uses = await credentialUses()
      const all = (await credentials.list()).map((one) => {
        const use = uses.get(one.accessKeyId)
        return { ...one, uses: use?.uses ?? 0, ...(use && { lastUsedAt: use.lastAt }) }
      })
      const chosen = all.filter(({ keyStore }) => only === undefined || keyStore === only)
      // A key store that was removed from the configuration may still have credentials.
      if (only !== undefined && chosen.length === 0) findKeyStore(context, place)
      return chosen
    })
    const rows = shown.map((one) => [
      one.accessKeyId,
      one.keyStore,
      one.status,
      toDate(one.createdAt),
      toDate(one.expiresAt),
      toDate(one.revokedAt),
      String(one.uses),
      toDate(one.lastUsedAt),
    ])
    const headings = [
      'ACCESS KEY ID',
      'KEY STORE',
      'STATUS',
      'CREATED',
      'EXPIRES',
      'REVOKED',
      'USES',
      'LAST USED',
    ]
    context.output.result(context.output.table(headings, rows), shown)
  },
}

export const credentialsExpire: Command = {
  operands: ['ACCESS_KEY_ID'],
  flags: {
    at: {
      type: 'string',
      value: 'WHEN',
      description:
        'Expiry time: a duration from now such as 90d or 12h, or a date such as 2027-01-31 (default: now).',
    },
    ...PLACE_FLAGS,
  },
  examples: ['latchkey credentials expire AKIAEXAMPLEEXAMPLEEXAMPLEX --at 24h'],
  async run(context) {
    const at = parseWhen(stringFlag(context, 'at') ?? 'now')
    const [id = ''] = context.operands
    const changed = await withDesk(context, ({ credentials }) => credentials.expire(id, at))
    context.output.result(
      `${id} expires at ${toDate(changed.expiresAt)}; requests signed with it are refused from then on`,
      changed,
    )
  },
}

export const credentialsRevoke: Command = {
  operands: ['ACCESS_KEY_ID'],
  flags: { ...YES_FLAG, ...PLACE_FLAGS },
  examples: ['latchkey credentials revoke AKIAEXAMPLEEXAMPLEEXAMPLEX --yes'],
  async run(context) {
    const [id = ''] = context.operands
    const revoked = await withDesk(context, async ({ credentials }) => {
      if (context.flags['yes'] === true) return credentials.revoke(id)
      await findOne(credentials, id)
      return undefined
    })
    if (revoked === undefined) {
      context.output.result(
        `would revoke ${id}: KMS requests signed with it would fail at once. ${ADD_YES}`,
        { wouldRevoke: id, done: false },
      )
    } else context.output.result(`revoked ${id}`, revoked)
  },
}

async function findOne(
  credentials: KeyStoreAdministration['credentials'],
  id: string,
): Promise<CredentialSummary> {
  const found = (await credentials.list()).find(({ accessKeyId }) => accessKeyId === id)
  if (found === undefined)
    throw new UsageError('INPUT_INVALID', `there is no credential with the id ${id}`)
  return found
}

function toDate(time: number | undefined): string {
  return time === undefined ? '-' : new Date(time).toISOString()
}
