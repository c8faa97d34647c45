/** Admin API routes are data, so that a test can check all of them. */
// SPDX-License-Identifier: Apache-2.0
import type { Criteria, Scope } from '../core/scope.ts'
import type { AdminRequestSchemaName } from '../openapi/schemas.ts'
import type { components } from '../openapi/types.gen.ts'
import { AdminError } from './errors.ts'
import type { AdminPrincipal, Permission } from './principal.ts'

export interface AdminCallInput {
  readonly principal: AdminPrincipal
  /** Parameters of the path, as in `/admin/v1/switches/:id`. */
  readonly parameters: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  /** Valid against the route's `body` schema. */
  readonly body: unknown
}

export interface AdminAnswer {
  readonly status: number
  /** A string or a Buffer is sent unchanged; anything else is sent as JSON. */
  readonly body: unknown
  readonly contentType?: string
  readonly headers?: Readonly<Record<string, string>>
}

interface Common {
  readonly method: 'GET' | 'POST'
  /**
   * Path in Fastify's syntax: `:name` is a parameter, and a trailing `*` is one that may contain
   * slashes.
   */
  readonly path: string
}

/** A route for load balancers and orchestrators, which reveals nothing but up or down. */
export interface OpenRoute extends Common {
  readonly permission: 'none'
  handle(): Promise<AdminAnswer>
}

export interface GuardedRoute extends Common {
  readonly permission: Permission
  /** Schema in openapi.yaml that the body must match; if absent, the body is ignored. */
  readonly body?: AdminRequestSchemaName
  /** Largest body in bytes (default: 16 KiB). */
  readonly bodyLimit?: number
  /** @throws AdminError, ControlError, StorageError */
  handle(call: AdminCallInput): Promise<AdminAnswer>
}

export type AdminRoute = OpenRoute | GuardedRoute

export function ok(body: unknown): AdminAnswer {
  return { status: 200, body }
}

/** Returns the key store that a scope is limited to, or undefined if it covers everything. */
export function keyStoreOf(scope: Scope): string | undefined {
  return scope.kind === 'all' ? undefined : scope.keyStore
}

type RawScope = components['schemas']['SwitchScope']

/**
 * @param knownKeyStores a key store that does not exist is refused: it would be a dangerous typo in
 * a kill
 * @throws AdminError
 */
export function toScope(raw: RawScope, knownKeyStores: readonly string[]): Scope {
  const { kind, keyStore, keyId, criteria } = raw
  if (keyStore !== undefined && !knownKeyStores.includes(keyStore)) {
    throw new AdminError('INPUT_INVALID', `there is no key store ${keyStore}`)
  }
  checkFields(raw)
  if (kind === 'all') return { kind }
  if (kind === 'match' && criteria !== undefined) {
    const { account, principal, viaService, vpc } = criteria
    const given: Criteria = {
      ...(account === undefined ? {} : { account }),
      ...(principal === undefined ? {} : { principal }),
      ...(viaService === undefined ? {} : { viaService }),
      ...(vpc === undefined ? {} : { vpc }),
    }
    return { kind, ...(keyStore === undefined ? {} : { keyStore }), criteria: given }
  }
  if (kind === 'key-store' && keyStore !== undefined) return { kind, keyStore }
  if (kind === 'key' && keyStore !== undefined && keyId !== undefined) {
    return { kind, keyStore, keyId }
  }
  throw new AdminError('INPUT_INVALID', `a scope of this kind needs ${NEEDS[kind].join(' and ')}`)
}

const NEEDS: Readonly<Record<RawScope['kind'], readonly string[]>> = {
  all: [],
  'key-store': ['keyStore'],
  key: ['keyStore', 'keyId'],
  match: ['criteria'],
}

const ALLOWS: Readonly<Record<RawScope['kind'], readonly string[]>> = {
  ...NEEDS,
  match: ['criteria', 'keyStore'],
}

/** Refuses a field that the kind does not use: the caller probably meant another kind. */
function checkFields(raw: RawScope): void {
  const extra = (['keyStore', 'keyId', 'criteria'] as const).find(
    (name) => raw[name] !== undefined && !ALLOWS[raw.kind].includes(name),
  )
  if (extra !== undefined) {
    throw new AdminError('INPUT_INVALID', `a scope of the kind ${raw.kind} has no ${extra}`)
  }
}
