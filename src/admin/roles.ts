/** Who may do what on the admin listener, in one table. */
// SPDX-License-Identifier: Apache-2.0
import type { AdminRole } from '../config/config.ts'

export type Permission =
  | 'read' // status, switches, receipts, metrics
  | 'stop' // the kill switch: stopping is for anyone who is more than a viewer, at once
  | 'lease' // renewing or closing leased access
  | 'drill' // killing and restoring a test key
  | 'restore' // giving access back, or approving that somebody else does

/** Each role may do what stands in its row; a test reads this table against docs/admin.md. */
export const PERMISSIONS: Readonly<Record<AdminRole, readonly Permission[]>> = {
  viewer: ['read'],
  operator: ['read', 'stop', 'lease', 'drill'],
  admin: ['read', 'stop', 'lease', 'drill', 'restore'],
}

export function isPermitted(role: AdminRole, permission: Permission): boolean {
  return PERMISSIONS[role].includes(permission)
}
