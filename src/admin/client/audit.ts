/**
 * Reads audit logs through the admin listener. Implements the same interface as the reader of local
 * log files.
 */
// SPDX-License-Identifier: Apache-2.0
import type { AuditReader } from '../../audit/reader/audit-reader.ts'
import type { EntryPage } from '../../audit/reader/search.ts'
import type { AdminApi } from './api.ts'

/** The listener hashes principals itself, since it has the key. */
export function createRemoteAudit(api: AdminApi): AuditReader {
  return {
    logs: async () => (await api.get('/admin/v1/audit/logs')).logs,
    async page(log, filter, { from, before, newest, limit }) {
      const { since, until, principal, keyStore, keyId, operation, outcome, accessClass } = filter
      const page = await api.get('/admin/v1/audit/entries', {
        query: {
          ...{ log, from, before, limit, order: newest ? 'newest' : 'oldest' },
          ...{ since, until, principal, keyStore, keyId, operation, outcome, accessClass },
          requestId: filter.kmsRequestId,
        },
      })
      // The cast is safe, because openapi.yaml does not define the fields of an entry.
      return page as EntryPage
    },
    async prove(log, index) {
      return (await api.get('/admin/v1/audit/proof', { query: { log, index } })).proof
    },
  }
}
