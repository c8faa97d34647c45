/** Shows the newest entries of the audit logs on this host. */
// SPDX-License-Identifier: Apache-2.0
import type { components } from '../../openapi/types.gen.ts'
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
      handle: async () => ok(await readAudit()),
    },
  ]
}
