/** What a route of the admin API is: data, so that a test can walk all of them. */
// SPDX-License-Identifier: Apache-2.0
import type { AdminRequestSchemaName } from '../openapi/schemas.ts'
import type { AdminPrincipal } from './authenticate.ts'
import type { Permission } from './roles.ts'

export interface AdminCallInput {
  readonly principal: AdminPrincipal
  /** Of the path, as in `/admin/v1/switches/:id`. */
  readonly parameters: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  /** Fits `body` of the route. */
  readonly body: unknown
}

export interface AdminAnswer {
  readonly status: number
  /** A string goes out as it is; anything else as JSON. */
  readonly body: unknown
  readonly contentType?: string
}

interface Common {
  readonly method: 'GET' | 'POST'
  /** In the form of Fastify: `:name` is a parameter. */
  readonly path: string
}

/** For load balancers and orchestrators: tells nothing but up or down. */
export interface OpenRoute extends Common {
  readonly permission: 'none'
  handle(): Promise<AdminAnswer>
}

export interface GuardedRoute extends Common {
  readonly permission: Permission
  /** Schema of openapi.yaml that the body must fit; absent: a body is not looked at. */
  readonly body?: AdminRequestSchemaName
  /** @throws AdminError, ControlError, StorageError */
  handle(call: AdminCallInput): Promise<AdminAnswer>
}

export type AdminRoute = OpenRoute | GuardedRoute

export function ok(body: unknown): AdminAnswer {
  return { status: 200, body }
}
