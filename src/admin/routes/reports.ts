/** Routes that report what a kill would refuse, and what it would not reach. They are read-only. */
// SPDX-License-Identifier: Apache-2.0
import { checkPermitted } from '../principal.ts'
import { parseExternalKeyId } from '../../core/ids.ts'
import type { Scope } from '../../core/scope.ts'
import type { KillSwitch } from '../../killswitch/operator/service.ts'
import type { components } from '../../openapi/types.gen.ts'
import { AdminError } from '../errors.ts'
import { coverageOf } from '../key-store-limit.ts'
import { type AdminRoute, checkParameters, keyStoreOf, okLists, toScope } from '../route.ts'

type Schemas = components['schemas']

export interface ReportRoutesDeps {
  readonly killSwitch: Pick<KillSwitch, 'exposure' | 'rehearse'>
  /** Names of the configured key stores. */
  readonly keyStores: () => readonly string[]
  /** Returns the wall time in milliseconds since the Unix epoch. */
  readonly now: () => number
}

const HOUR_MS = 3_600_000
const EXPOSURE_PARAMETERS: readonly string[] = ['keyStore', 'keyId', 'switch', 'since', 'probes']

export function reportRoutes(deps: ReportRoutesDeps): readonly AdminRoute[] {
  const { killSwitch, keyStores, now } = deps
  return [
    {
      method: 'POST',
      path: '/admin/v1/rehearsals',
      permission: 'read',
      body: 'AdminRehearsalRequest',
      async handle({ body, principal }) {
        const raw = body as Schemas['AdminRehearsalRequest']
        const until = raw.until ?? now()
        const since = raw.since ?? until - HOUR_MS
        if (since >= until) throw new AdminError('INPUT_INVALID', 'since must be before until')
        const order = {
          scope: toScope(raw.scope, keyStores()),
          direction: raw.direction ?? ('both' as const),
        }
        checkPermitted(principal, 'read', keyStoreOf(order.scope))
        const window = { since, until, probes: raw.probes === true }
        const found = await killSwitch.rehearse(order, window, coverageOf(principal))
        const { principals, services, accounts, keys, kmsOperations, ...rest } = found
        const lists = { principals, services, accounts, keys, kmsOperations }
        return okLists(lists, { ...order, ...rest })
      },
    },
    {
      method: 'GET',
      path: '/admin/v1/exposure',
      permission: 'read',
      async handle({ query, principal }) {
        checkParameters(query, EXPOSURE_PARAMETERS)
        const id = query.get('switch') ?? undefined
        const scope = toExposureScope(query, keyStores())
        if (id !== undefined && scope !== undefined) {
          throw new AdminError('INPUT_INVALID', 'switch cannot be combined with keyStore or keyId')
        }
        // The scope of a switch is known only after the switch has been looked up.
        if (id === undefined) checkPermitted(principal, 'read', scope && keyStoreOf(scope))
        const about = id === undefined ? scope : { id }
        const window = { since: toSince(query.get('since')), probes: toBoolean(query, 'probes') }
        const found = await killSwitch.exposure(about, window, coverageOf(principal))
        checkPermitted(principal, 'read', keyStoreOf(found.scope))
        const { exposures, longKills, ...rest } = found
        return okLists({ exposures, longKills }, rest)
      },
    },
  ]
}

function toExposureScope(query: URLSearchParams, keyStores: readonly string[]): Scope | undefined {
  const keyId = query.get('keyId') ?? undefined
  const keyStore = query.get('keyStore') ?? undefined
  if (keyId !== undefined) {
    if (parseExternalKeyId(keyId) === undefined) {
      throw new AdminError(
        'INPUT_INVALID',
        'keyId: expected 1 to 128 letters, digits, hyphens, periods and underscores',
      )
    }
    return toScope(
      { kind: 'key', keyId, ...(keyStore === undefined ? {} : { keyStore }) },
      keyStores,
    )
  }
  return keyStore === undefined ? undefined : toScope({ kind: 'key-store', keyStore }, keyStores)
}

/** @returns milliseconds since the Unix epoch */
function toSince(text: string | null): number | undefined {
  if (text === null) return undefined
  if (!/^\d{1,15}$/.test(text)) {
    throw new AdminError(
      'INPUT_INVALID',
      'since must be a time in milliseconds since the Unix epoch',
    )
  }
  return Number(text)
}

function toBoolean(query: URLSearchParams, name: string): boolean {
  const text = query.get(name) ?? 'false'
  if (text === 'true' || text === 'false') return text === 'true'
  throw new AdminError('INPUT_INVALID', `${name} must be true or false`)
}
