/**
 * Manages operators and their tokens through the admin listener. Implements the control store's
 * interface.
 */
// SPDX-License-Identifier: Apache-2.0
import { Secret } from '../../core/secret.ts'
import type { OperatorAdministration } from '../administration.ts'
import type { AdminApi } from './api.ts'
import { loadPages } from './pages.ts'

/** The listener records its caller as the operator, even if another name is given here. */
export function createRemoteOperators(api: AdminApi): OperatorAdministration {
  return {
    async operators() {
      const pages = await loadPages((query) => api.get('/admin/v1/operators', { query }))
      return pages.flatMap(({ operators }) => operators)
    },
    async put({ name, kind, role, keyStores, groups }) {
      return api.post('/admin/v1/operators', {
        ...{ name, kind, groups: [...groups] },
        ...(role === undefined ? {} : { role }),
        ...(keyStores === undefined ? {} : { keyStores: [...keyStores] }),
      })
    },
    async remove(name) {
      await api.post('/admin/v1/operators/{name}/remove', {}, { path: { name } })
    },
    async tokens() {
      const pages = await loadPages((query) => api.get('/admin/v1/tokens', { query }))
      return pages.flatMap(({ tokens }) => tokens)
    },
    async createToken({ operator, expiresAt }) {
      const order = { operator, ...(expiresAt === undefined ? {} : { expiresAt }) }
      const { id, token } = await api.post('/admin/v1/tokens', order)
      return { id, token: new Secret(token) }
    },
    async revokeToken(id) {
      await api.post('/admin/v1/tokens/{id}/revoke', {}, { path: { id } })
    },
    close() {
      api.close()
      return Promise.resolve()
    },
  }
}
