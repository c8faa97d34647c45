/** Routes for the retirement of key versions: requests, approvals, cancellations and listings. */
// SPDX-License-Identifier: Apache-2.0
import { parseExternalKeyId, parseKeyStoreName, type KeyStoreName } from '../../core/ids.ts'
import { toRemark } from '../../core/remark.ts'
import type { components } from '../../openapi/types.gen.ts'
import type { Retirement } from '../../retirement/retirement-table.ts'
import type { Retirements } from '../../retirement/service.ts'
import { AdminError } from '../errors.ts'
import {
  type AdminPrincipal,
  checkPermitted,
  checkPersonal,
  type Permission,
  toActor,
} from '../principal.ts'
import { okPage, parsePage, takePage } from '../paging.ts'
import { type AdminRoute, ok } from '../route.ts'

type Schemas = components['schemas']

export interface RetirementRoutesDeps {
  /** Opens the retirement service of a key store for one call. */
  readonly withRetirements: <T>(
    keyStore: KeyStoreName,
    work: (retirements: Retirements) => Promise<T>,
  ) => Promise<T>
  /** Names of the configured key stores. */
  readonly keyStores: () => readonly string[]
}

export function retirementRoutes(deps: RetirementRoutesDeps): readonly AdminRoute[] {
  const path = '/admin/v1/retirements/:keyStore'
  const toKeyStore = (
    principal: AdminPrincipal,
    permission: Permission,
    { keyStore: text = '' }: Readonly<Record<string, string>>,
  ): KeyStoreName => {
    const name = parseKeyStoreName(text)
    if (name === undefined || !deps.keyStores().includes(name)) {
      throw new AdminError('INPUT_INVALID', `there is no key store ${text.slice(0, 64)}`)
    }
    checkPermitted(principal, permission, name)
    return name
  }
  return [
    {
      ...{ method: 'GET', path, permission: 'read' },
      async handle({ parameters, principal, query }) {
        const keyStore = toKeyStore(principal, 'read', parameters)
        const page = parsePage(query, `retirements ${keyStore}`, (text) => text)
        const all = await deps.withRetirements(keyStore, (open) => open.list(keyStore))
        return okPage('retirements', page, takePage(page, all, toCursorKey), toCursorKey)
      },
    },
    {
      ...{ method: 'GET', path: `${path}/:keyId`, permission: 'read' },
      async handle({ parameters, principal }) {
        const keyStore = toKeyStore(principal, 'read', parameters)
        const keyId = toKeyId(parameters)
        const report = (open: Retirements) => open.report(keyStore, keyId)
        return ok({ versions: await deps.withRetirements(keyStore, report) })
      },
    },
    {
      ...{ method: 'POST', path: `${path}/:keyId`, permission: 'keys' },
      body: 'AdminRetirementRequest',
      async handle({ body, parameters, principal }) {
        const keyStore = toKeyStore(principal, 'keys', parameters)
        const keyId = toKeyId(parameters)
        const request = body as Schemas['AdminRetirementRequest']
        const name = { keyStore, keyId, version: request.version }
        const work = (open: Retirements) => change(open, name, request, principal)
        return ok(await deps.withRetirements(keyStore, work))
      },
    },
  ]
}

/** Sorts like the key id and the version, because key ids contain no character below a space. */
function toCursorKey({ keyId, version }: Retirement): string {
  return `${keyId} ${String(version).padStart(10, '0')}`
}

type Name = Pick<Parameters<Retirements['request']>[0], 'keyStore' | 'keyId' | 'version'>

/** @throws AdminError, RetirementError, ControlError, BackendError */
function change(
  retirements: Retirements,
  name: Name,
  { action, reason, quietForMs, waitForMs }: Schemas['AdminRetirementRequest'],
  principal: AdminPrincipal,
) {
  const by = toActor(principal)
  if (action !== 'cancel') checkPersonal(principal)
  if (action === 'approve') return retirements.approve(name, by)
  if (reason === undefined)
    throw new AdminError('INPUT_INVALID', `"${action}" requires the field "reason"`)
  if (action === 'cancel') return retirements.cancel(name, { ...by, reason: toRemark(reason) })
  if (quietForMs === undefined || waitForMs === undefined) {
    throw new AdminError(
      'INPUT_INVALID',
      '"request" requires the fields "quietForMs" and "waitForMs"',
    )
  }
  const periods = { quietForMs, waitForMs }
  return retirements.request({ ...name, ...periods, reason: toRemark(reason), requestedBy: by })
}

function toKeyId({ keyId: text = '' }: Readonly<Record<string, string>>) {
  const keyId = parseExternalKeyId(text)
  if (keyId === undefined) throw new AdminError('INPUT_INVALID', 'keyId is not a valid key id')
  return keyId
}
