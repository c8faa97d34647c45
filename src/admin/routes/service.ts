/**
 * Routes for liveness, readiness and metrics, and for what a caller may know about the listener.
 */
// SPDX-License-Identifier: Apache-2.0
import { ALL_PERMISSIONS, PERMISSIONS, checkPermitted, isPermitted } from '../principal.ts'
import { AdminError } from '../errors.ts'
import type { CodeFlow } from '../oidc/code-flow.ts'
import type { components } from '../../openapi/types.gen.ts'
import { type AdminRoute, ok } from '../route.ts'

export interface ServiceDeps {
  /** Reports whether this process, together with its workers, can serve at all. */
  readonly isReady: () => Promise<boolean>
  /** Returns the metrics in Prometheus's text format. Absent if metrics are disabled. */
  readonly metrics?: () => Promise<string>
}

/** Probes are unauthenticated, so their connections close after the response. */
const CLOSE = { connection: 'close' }

/** Version 0.0.4 of Prometheus's text format. */
const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'

export function serviceRoutes({ isReady, metrics }: ServiceDeps): readonly AdminRoute[] {
  const routes: AdminRoute[] = [
    {
      method: 'GET',
      path: '/livez',
      permission: 'none',
      handle: () => Promise.resolve({ status: 200, body: { status: 'ok' }, headers: CLOSE }),
    },
    {
      method: 'GET',
      path: '/readyz',
      permission: 'none',
      async handle() {
        const ready = await isReady()
        return {
          status: ready ? 200 : 503,
          body: { status: ready ? 'ok' : 'unavailable' },
          headers: CLOSE,
        }
      },
    },
  ]
  if (metrics !== undefined) {
    routes.push({
      method: 'GET',
      path: '/metrics',
      permission: 'read',
      async handle({ principal }) {
        checkPermitted(principal, 'read')
        return { status: 200, body: await metrics(), contentType: METRICS_TYPE }
      },
    })
  }
  return routes
}

export interface AboutDeps {
  /** The configured key stores. */
  readonly keyStores: () => readonly {
    readonly name: string
    readonly prefix: string
    readonly backend?: string | undefined
  }[]
  readonly version: string
}

/** Routes that return the caller's own name and role, and the names that a scope can have. */
export function aboutRoutes({ keyStores, version }: AboutDeps): readonly AdminRoute[] {
  return [
    {
      method: 'GET',
      path: '/admin/v1/about',
      permission: 'read',
      handle({ principal }) {
        const { name, role, grants } = principal
        const visible = keyStores().filter((one) => isPermitted(principal, 'read', one.name))
        return Promise.resolve(
          ok({
            ...{ version, name, role },
            permissions: [...new Set(grants.flatMap((grant) => PERMISSIONS[grant.role]))],
            keyStores: visible.map((one) => one.name),
            everywhere: ALL_PERMISSIONS.filter((one) => isPermitted(principal, one)),
            stores: visible.map((one) => ({
              permissions: ALL_PERMISSIONS.filter((may) => isPermitted(principal, may, one.name)),
              ...{ name: one.name, prefix: one.prefix },
              ...(one.backend === undefined ? {} : { backend: one.backend }),
            })),
          }),
        )
      },
    },
  ]
}

export interface LoginDeps {
  /** Settings for browser logins; undefined if no identity provider is configured. */
  readonly codeFlow: CodeFlow | undefined
  /** Settings for the device flow; undefined if no identity provider is configured. */
  readonly login: () =>
    { readonly issuer: string; readonly clientId: string; readonly scope: string } | undefined
}

type LoginRequest = components['schemas']['AdminLoginRequest']

/** Routes that tell a command where to log in before it has a token. The values are public. */
export function loginRoutes({ login, codeFlow }: LoginDeps): readonly AdminRoute[] {
  const find = <T>(found: T | undefined): T => {
    if (found !== undefined) return found
    throw new AdminError('NOT_FOUND', 'no identity provider is configured in admin.oidc')
  }
  return [
    {
      method: 'GET',
      path: '/admin/v1/login',
      permission: 'none',
      handle: async () => ok(find(await Promise.resolve(login()))),
    },
    {
      method: 'GET',
      path: '/admin/v1/login/browser',
      permission: 'anyone',
      answer: async () => ok(await find(codeFlow).start()),
    },
    {
      method: 'POST',
      path: '/admin/v1/login/browser',
      permission: 'anyone',
      body: 'AdminLoginRequest',
      answer: async ({ body }) => ok(await find(codeFlow).redeem(body as LoginRequest)),
    },
  ]
}
