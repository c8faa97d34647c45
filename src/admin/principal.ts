/** Callers of the admin listener, their roles, and the calls that each role allows. */
// SPDX-License-Identifier: Apache-2.0
import type { AdminRole, Grant } from '../core/role.ts'
import type { Actor } from '../killswitch/model.ts'
import { AdminError } from './errors.ts'

export interface AdminPrincipal {
  /** Name that is recorded as the operator of every change. */
  readonly name: string
  /** The caller's roles, each limited to some key stores or valid for all key stores. */
  readonly grants: readonly Grant[]
  /** Display text for the granted roles. */
  readonly role: string
  /** The person who holds the token or certificate. One person may hold several. */
  readonly person: string
  /**
   * False if another caller created the token through a listener. The creator may have kept a copy,
   * so the token does not prove who is calling.
   */
  readonly isPersonal: boolean
  readonly by: 'certificate' | 'token' | 'oidc'
}

export type Permission =
  | 'read' // read status, switches, receipts and metrics
  | 'stop' // stop access with the kill switch, or withdraw a restore
  | 'deadman' // renew or close a dead man's switch
  | 'drill' // kill and restore a test key
  | 'restore' // restore access, or approve a restore
  | 'keys' // create, import, rotate, disable, enable and destroy keys
  | 'credentials' // create, expire and revoke the credentials that KMS signs with
  | 'policy' // change policies
  | 'operators' // add and remove operators, create and revoke their tokens
  | 'audit' // read the files of the audit logs

/** Each role's permissions. A test compares this table with docs/admin.md. */
export const PERMISSIONS: Readonly<Record<AdminRole, readonly Permission[]>> = {
  viewer: ['read'],
  auditor: ['read', 'audit'],
  operator: ['read', 'stop', 'deadman', 'drill'],
  custodian: ['read', 'keys', 'credentials', 'policy'],
  admin: [
    ...['read', 'stop', 'deadman', 'drill', 'restore'],
    ...['keys', 'credentials', 'policy', 'operators', 'audit'],
  ] as const,
}

export const ALL_PERMISSIONS: readonly Permission[] = [
  ...new Set(Object.values(PERMISSIONS).flat()),
]

/** @param keyStore absent if the call concerns all key stores */
export function isPermitted(
  { grants }: { readonly grants: readonly Grant[] },
  permission: Permission,
  keyStore?: string,
): boolean {
  return grants.some(
    ({ role, keyStores }) =>
      PERMISSIONS[role].includes(permission) &&
      (keyStores === undefined || (keyStore !== undefined && keyStores.includes(keyStore))),
  )
}

/** Returns whether the caller has this permission for at least one key store. */
export function isPermittedSomewhere(
  { grants }: { readonly grants: readonly Grant[] },
  permission: Permission,
): boolean {
  return grants.some(({ role }) => PERMISSIONS[role].includes(permission))
}

/**
 * Returns the key stores for which the caller has this permission; undefined means all key stores.
 */
export function keyStoresFor(
  { grants }: { readonly grants: readonly Grant[] },
  permission: Permission,
): readonly string[] | undefined {
  if (isPermitted({ grants }, permission)) return undefined
  return grants.flatMap(({ role, keyStores = [] }) =>
    PERMISSIONS[role].includes(permission) ? keyStores : [],
  )
}

/** @throws AdminError FORBIDDEN */
export function checkPermitted(
  principal: AdminPrincipal,
  permission: Permission,
  keyStore?: string,
): void {
  if (isPermitted(principal, permission, keyStore)) return
  const where = keyStore === undefined ? 'all key stores' : `the key store ${keyStore}`
  throw new AdminError('FORBIDDEN', `the role ${principal.role} does not allow this for ${where}`)
}

/**
 * Refuses a token that does not prove who is calling. Without this rule, a caller who may create
 * tokens could both request and approve a retirement.
 * @throws AdminError FORBIDDEN
 */
export function checkPersonal({ isPersonal }: AdminPrincipal): void {
  if (isPersonal) return
  throw new AdminError(
    'FORBIDDEN',
    'a retirement requires two people; this token does not prove who is calling, because another caller created it through a listener',
    { hint: 'create a token on a host that has the master key: latchkey admin tokens create' },
  )
}

/** Describes roles and the key stores that they are limited to, as in `operator of payroll`. */
export function describeGrants(grants: readonly Grant[]): string {
  return grants
    .map(({ role, keyStores }) =>
      keyStores === undefined ? role : `${role} of ${keyStores.join(', ')}`,
    )
    .join('; ')
}

/** The identity comes from the token or the certificate, so a caller cannot choose another. */
export function toActor({ name, person, by }: AdminPrincipal): Actor {
  return { operator: name, identity: `${by}:${person}` }
}
