/** Routes for operators, groups and their tokens. */
// SPDX-License-Identifier: Apache-2.0
import type { components } from '../../openapi/types.gen.ts'
import type { OperatorDirectory } from '../operators/directory.ts'
import { AdminError } from '../errors.ts'
import { type AdminPrincipal, checkPermitted } from '../principal.ts'
import { okPage, parsePage, takePage } from '../paging.ts'
import { type AdminRoute, ok } from '../route.ts'

type Schemas = components['schemas']

export interface OperatorRoutesDeps {
  readonly directory: OperatorDirectory
  /** Whether a restore needs two people. */
  readonly needsTwoPeople: () => boolean
  /** Names of the configured key stores. */
  readonly keyStores: () => readonly string[]
}

/** Accepts every text, because the list is searched in memory. */
const parseName = (text: string) => text

export function operatorRoutes(deps: OperatorRoutesDeps): readonly AdminRoute[] {
  const { directory, keyStores } = deps
  return [
    {
      ...{ method: 'GET', path: '/admin/v1/operators', permission: 'read' },
      async handle({ principal, query }) {
        checkPermitted(principal, 'read')
        const page = parsePage(query, 'operators', parseName)
        const nameOf = ({ name }: { readonly name: string }) => name
        const found = takePage(page, await directory.operators(), nameOf)
        return okPage('operators', page, found, nameOf)
      },
    },
    {
      ...{ method: 'POST', path: '/admin/v1/operators', permission: 'operators' },
      body: 'AdminOperatorRequest',
      async handle({ body, principal }) {
        checkPermitted(principal, 'operators')
        checkMayGrant(deps, principal, undefined)
        const order = body as Schemas['AdminOperatorRequest']
        for (const name of order.keyStores ?? []) {
          if (!keyStores().includes(name)) {
            throw new AdminError('INPUT_INVALID', `there is no key store ${name}`)
          }
        }
        return ok(await directory.put({ ...order, groups: order.groups ?? [] }, principal.name))
      },
    },
    {
      ...{ method: 'POST', path: '/admin/v1/operators/:name/remove', permission: 'operators' },
      async handle({ parameters, principal }) {
        checkPermitted(principal, 'operators')
        await directory.remove(parameters['name'] ?? '', principal.name)
        return ok({ done: true })
      },
    },
    {
      ...{ method: 'GET', path: '/admin/v1/tokens', permission: 'read' },
      async handle({ principal, query }) {
        checkPermitted(principal, 'read')
        const page = parsePage(query, 'tokens', parseName)
        const idOf = ({ id }: { readonly id: string }) => id
        return okPage('tokens', page, takePage(page, await directory.tokens(), idOf), idOf)
      },
    },
    {
      ...{ method: 'POST', path: '/admin/v1/tokens', permission: 'operators' },
      body: 'AdminTokenRequest',
      async handle({ body, principal }) {
        checkPermitted(principal, 'operators')
        const order = body as Schemas['AdminTokenRequest']
        checkMayGrant(deps, principal, order.operator)
        // A renewed token is personal only if the token used to request it was personal.
        const isPersonal = principal.isPersonal && order.operator === principal.person
        const { id, token } = await directory.createToken({ ...order, isPersonal }, principal.name)
        return ok({ id, token: token.reveal() })
      },
    },
    {
      ...{ method: 'POST', path: '/admin/v1/tokens/:id/revoke', permission: 'operators' },
      async handle({ parameters, principal }) {
        checkPermitted(principal, 'operators')
        await directory.revokeToken(parameters['id'] ?? '', principal.name)
        return ok({ done: true })
      },
    },
  ]
}

/**
 * A caller who can create identities could approve their own restore as a second person. Therefore,
 * if restores need two people, only the holder of the master key may create identities; anyone may
 * renew their own token.
 * @throws AdminError FORBIDDEN
 */
function checkMayGrant(
  { needsTwoPeople }: OperatorRoutesDeps,
  { person }: AdminPrincipal,
  receiver: string | undefined,
): void {
  if (!needsTwoPeople() || receiver === person) return
  throw new AdminError(
    'FORBIDDEN',
    'a restore requires two people, and this caller could create an identity to act as the second person',
    { hint: 'run the command on a host that has the master key' },
  )
}
