/** Types of the admin API routes. Routes are data, so that a test can check all of them. */
// SPDX-License-Identifier: Apache-2.0
import { Readable } from 'node:stream'
import { turn } from '../core/slices.ts'
import type { Criteria, Scope } from '../core/scope.ts'
import type { AdminRequestSchemaName } from '../openapi/schemas.ts'
import type { components } from '../openapi/types.gen.ts'
import { AdminError } from './errors.ts'
import type { AdminPrincipal, Permission } from './principal.ts'

export interface AdminCallInput {
  readonly principal: AdminPrincipal
  /** Parameters in the path, as in `/admin/v1/switches/:id`. */
  readonly parameters: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  /** Matches the route's `body` schema. */
  readonly body: unknown
  /**
   * Reports whether the caller has closed the connection, in which case no response can reach it.
   */
  readonly isGone: () => boolean
}

export interface AdminAnswer {
  readonly status: number
  /** A string, a Buffer or a stream is sent unchanged; anything else is sent as JSON. */
  readonly body: unknown
  readonly contentType?: string
  readonly headers?: Readonly<Record<string, string>>
}

interface Common {
  readonly method: 'GET' | 'POST'
  /**
   * Path in Fastify's syntax: `:name` is a parameter, and a trailing `*` is a parameter that may
   * contain slashes.
   */
  readonly path: string
}

/** A route for load balancers and orchestrators, which reveals only whether the service is up. */
export interface OpenRoute extends Common {
  readonly permission: 'none'
  handle(): Promise<AdminAnswer>
}

/** A route for callers who have not authenticated yet. Pages of other sites may not call it. */
export interface PublicRoute extends Common {
  readonly permission: 'anyone'
  /** Schema in openapi.yaml that the body must match; if absent, the body is ignored. */
  readonly body?: AdminRequestSchemaName
  /** @throws AdminError */
  answer(call: Pick<AdminCallInput, 'body'>): Promise<AdminAnswer>
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

export type AdminRoute = OpenRoute | PublicRoute | GuardedRoute

export function ok(body: unknown): AdminAnswer {
  return { status: 200, body }
}

/** Limits what is serialized in one turn of the event loop, to well under two milliseconds. */
const ITEMS_PER_TURN = 200
const CHARACTERS_PER_TURN = 64 * 1024

/**
 * Returns a response: a JSON object with a possibly long list and further fields. It is sent in
 * pieces, because serializing 50,000 keys at once would delay requests by a tenth of a second.
 */
export function okList(
  name: string,
  items: readonly unknown[],
  fields: Readonly<Record<string, unknown>> = {},
): AdminAnswer {
  return okLists({ [name]: items }, fields)
}

/** Returns a response with several lists, like okList. Items are never undefined. */
export function okLists(
  lists: Readonly<Record<string, readonly unknown[]>>,
  fields: Readonly<Record<string, unknown>> = {},
): AdminAnswer {
  async function* pieces() {
    let opening = '{'
    for (const [name, items] of Object.entries(lists)) {
      yield `${opening}${JSON.stringify(name)}:[`
      opening = '],'
      for (let at = 0; at < items.length;) {
        await turn()
        const { text, count } = toPiece(items, at)
        yield at === 0 ? text : `,${text}`
        at += count
      }
    }
    const rest = JSON.stringify(fields).slice(1)
    yield `]${rest === '}' ? '' : ','}${rest}\n`
  }
  return { status: 200, body: Readable.from(pieces()) }
}

/** Serializes some of the items, starting at `from`, and at least one. */
function toPiece(items: readonly unknown[], from: number) {
  const texts: string[] = []
  let length = 0
  for (const item of items.slice(from, from + ITEMS_PER_TURN)) {
    const text = JSON.stringify(item)
    texts.push(text)
    length += text.length
    if (length > CHARACTERS_PER_TURN) break
  }
  return { text: texts.join(','), count: texts.length }
}

/** Returns the parameters of a request's target: everything after the first question mark. */
export function toQuery(target: string): URLSearchParams {
  const at = target.indexOf('?')
  return new URLSearchParams(at === -1 ? '' : target.slice(at + 1))
}

/**
 * Refuses query parameters that a route does not have, or that appear twice. If a misspelled parameter were ignored, the
 * response would contain more than the caller asked for.
 * @throws AdminError INPUT_INVALID
 */
export function checkParameters(query: URLSearchParams, known: readonly string[]): void {
  for (const name of query.keys()) {
    if (known.includes(name) && query.getAll(name).length === 1) continue
    // Quotes only enough of the caller's input to identify it.
    const shown = name.replaceAll(/[^A-Za-z0-9_-]/g, '?').slice(0, 40)
    const fault = known.includes(name) ? 'repeated parameter' : 'unknown parameter'
    throw new AdminError('INPUT_INVALID', `${fault} ${shown}`)
  }
}

/** Returns undefined if the parameter is absent. @throws AdminError INPUT_INVALID */
export function toWholeNumber(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name)
  if (text === null) return undefined
  if (/^\d{1,15}$/.test(text)) return Number(text)
  throw new AdminError('INPUT_INVALID', `${name} must be a whole number`)
}

/** Returns the key store that a scope is limited to, or undefined if it covers all key stores. */
export function keyStoreOf(scope: Scope): string | undefined {
  return scope.kind === 'all' ? undefined : scope.keyStore
}

type RawScope = components['schemas']['SwitchScope']

/**
 * @param knownKeyStores names of the existing key stores; any other name is refused, because a typo
 * in a kill would be dangerous
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
  throw new AdminError(
    'INPUT_INVALID',
    `a scope of kind ${kind} requires ${NEEDS[kind].join(' and ')}`,
  )
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

/**
 * Refuses a field that this kind of scope does not use, because the caller probably meant another
 * kind.
 */
function checkFields(raw: RawScope): void {
  const extra = (['keyStore', 'keyId', 'criteria'] as const).find(
    (name) => raw[name] !== undefined && !ALLOWS[raw.kind].includes(name),
  )
  if (extra !== undefined) {
    throw new AdminError('INPUT_INVALID', `a scope of kind ${raw.kind} does not allow ${extra}`)
  }
}
