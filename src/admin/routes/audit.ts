/** Shows the newest entries of the audit logs on this host. */
// SPDX-License-Identifier: Apache-2.0
import type { components } from '../../openapi/types.gen.ts'
import { checkPermitted } from '../principal.ts'
import { type AdminRoute, ok } from '../route.ts'

export interface AuditRouteDeps {
  readonly readAudit: () => Promise<components['schemas']['AdminAudit']>
}

export function auditRoutes({ readAudit }: AuditRouteDeps): readonly AdminRoute[] {
  return [
    {
      method: 'GET',
      path: '/admin/v1/audit',
      permission: 'read',
      async handle({ principal }) {
        // Entries name the keys and callers of every key store.
        checkPermitted(principal, 'read')
        return ok(await readAudit())
      },
    },
  ]
}
