/** Shows the newest entries of the audit logs on this host, and serves the files of the logs. */
// SPDX-License-Identifier: Apache-2.0
import type { components } from '../../openapi/types.gen.ts'
import { AdminError } from '../errors.ts'
import { checkPermitted } from '../principal.ts'
import { type AdminRoute, ok } from '../route.ts'

export interface AuditRouteDeps {
  readonly readAudit: () => Promise<components['schemas']['AdminAudit']>
  /** Names of the logs on this host. */
  readonly listLogs: () => Promise<readonly string[]>
  /** Returns a file of a log; undefined if there is none that may be read. */
  readonly readLogFile: (log: string, path: string) => Promise<Buffer | undefined>
}

/** Text files; the others are tiles and bundles. */
const TYPES: Readonly<Record<string, string>> = {
  checkpoint: 'text/plain; charset=utf-8',
  'log.vkey': 'text/plain; charset=utf-8',
  'certificate.json': 'application/json',
  'pruned.json': 'application/json',
}

export function auditRoutes(deps: AuditRouteDeps): readonly AdminRoute[] {
  const { readAudit, listLogs, readLogFile } = deps
  return [
    {
      method: 'GET',
      path: '/admin/v1/audit',
      permission: 'read',
      async handle({ principal }) {
        // Entries name the keys and callers of every key store, so a limited caller may not see
        // them.
        checkPermitted(principal, 'read')
        return ok(await readAudit())
      },
    },
    {
      method: 'GET',
      path: '/admin/v1/audit/logs',
      permission: 'audit',
      async handle({ principal }) {
        checkPermitted(principal, 'audit')
        return ok({ logs: await listLogs() })
      },
    },
    {
      method: 'GET',
      path: '/admin/v1/audit/logs/:log/*',
      permission: 'audit',
      async handle({ principal, parameters: { log = '', '*': path = '' } }) {
        checkPermitted(principal, 'audit')
        const body = await readLogFile(log, path)
        if (body === undefined) throw new AdminError('NOT_FOUND', 'there is no such file of a log')
        return { status: 200, body, contentType: TYPES[path] ?? 'application/octet-stream' }
      },
    },
  ]
}
