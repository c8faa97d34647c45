/** What a route of the admin API is: data, so that a test can walk all of them. */
// SPDX-License-Identifier: Apache-2.0
import type { AdminRole } from '../config/config.ts'
import type { AdminRequestSchemaName } from '../openapi/schemas.ts'
import type { AdminPrincipal } from './authenticate.ts'

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

type Permission =
  | 'read' // status, switches, receipts, metrics
  | 'stop' // the kill switch: stopping is for anyone who is more than a viewer, at once
  | 'deadman' // renewing or closing a dead man's switch
  | 'drill' // killing and restoring a test key
  | 'restore' // giving access back, or approving that somebody else does

/** Each role may do what stands in its row; a test reads this table against docs/admin.md. */
export const PERMISSIONS: Readonly<Record<AdminRole, readonly Permission[]>> = {
  viewer: ['read'],
  operator: ['read', 'stop', 'deadman', 'drill'],
  admin: ['read', 'stop', 'deadman', 'drill', 'restore'],
}

export function isPermitted(role: AdminRole, permission: Permission): boolean {
  return PERMISSIONS[role].includes(permission)
}
