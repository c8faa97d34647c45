/** Callers of the admin listener, their roles, and the calls that a role allows. */
// SPDX-License-Identifier: Apache-2.0
import type { AdminRole, Grant } from '../core/role.ts'
import { AdminError } from './errors.ts'

export interface AdminPrincipal {
  /** Recorded as the operator of every change. */
  readonly name: string
  /** Roles of the caller, each for all key stores or for some. */
  readonly grants: readonly Grant[]
  /** The roles of the grants, as text for display. */
  readonly role: string
  /** Person who holds the token or certificate. One person may hold several. */
  readonly person: string
  readonly by: 'certificate' | 'token' | 'oidc'
}

export type Permission =
  | 'read' // read status, switches, receipts and metrics
  | 'stop' // use the kill switch: everyone above a viewer may stop things at once
  | 'deadman' // renew or close a dead man's switch
  | 'drill' // kill and restore a test key
  | 'restore' // restore access, or approve a restore
  | 'keys' // create, import, rotate, disable, enable and destroy keys
  | 'credentials' // create, expire and revoke the credentials that KMS signs with
  | 'policy' // change policies
  | 'operators' // add and remove operators, create and revoke their tokens
  | 'audit' // read the files of the audit logs

/** Permissions of each role. A test compares this table with docs/admin.md. */
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

/** Returns roles with the key stores that they are limited to, such as `operator of payroll`. */
export function describeGrants(grants: readonly Grant[]): string {
  return grants
    .map(({ role, keyStores }) =>
      keyStores === undefined ? role : `${role} of ${keyStores.join(', ')}`,
    )
    .join('; ')
}
