/** Manages the retirement of key versions through the admin listener. */
// SPDX-License-Identifier: Apache-2.0
import type { components } from '../../openapi/types.gen.ts'
import type { Retirement, VersionName } from '../../retirement/retirement-table.ts'
import type { VersionReport } from '../../retirement/retirement.ts'
import type { Retirements } from '../../retirement/service.ts'
import type { AdminApi } from './api.ts'
import { loadPages } from './pages.ts'

type Schemas = components['schemas']

/** The listener records its caller, even if an order names another person. */
export function createRemoteRetirements(api: AdminApi): Retirements {
  const change = async (
    { keyStore, keyId, version }: VersionName,
    body: Omit<Schemas['AdminRetirementRequest'], 'version'>,
  ): Promise<Retirement> => {
    const path = { keyStore, keyId }
    const order = { ...body, version }
    return api.post('/admin/v1/retirements/{keyStore}/{keyId}', order, { path })
  }
  return {
    async report(keyStore, keyId) {
      const path = { keyStore, keyId }
      const { versions } = await api.get('/admin/v1/retirements/{keyStore}/{keyId}', { path })
      // JSON omits undefined fields.
      return versions as readonly unknown[] as readonly VersionReport[]
    },
    async list(keyStore) {
      const path = { keyStore }
      const pages = await loadPages((query) =>
        api.get('/admin/v1/retirements/{keyStore}', { path, query }),
      )
      return pages.flatMap(({ retirements }) => retirements)
    },
    request: ({ reason, quietForMs, waitForMs, ...name }) =>
      change(name, { action: 'request', reason, quietForMs, waitForMs }),
    approve: (name) => change(name, { action: 'approve' }),
    cancel: (name, { reason }) => change(name, { action: 'cancel', reason }),
  }
}
