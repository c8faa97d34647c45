/** Roles of operators on the admin listener. admin/principal.ts says what each allows. */
// SPDX-License-Identifier: Apache-2.0

export const ROLES = ['viewer', 'auditor', 'operator', 'custodian', 'admin'] as const

export type AdminRole = (typeof ROLES)[number]

/** A role, for all key stores or for some. */
export interface Grant {
  readonly role: AdminRole
  /**
   * Absent if the role covers all key stores, including calls that do not concern a particular key
   * store.
   */
  readonly keyStores?: readonly string[]
}
