/**
 * Manages keys and credentials through the admin listener. Implements the same interface as the
 * control store.
 */
// SPDX-License-Identifier: Apache-2.0
import type { AccessKeyId, ExternalKeyId, KeyStoreName } from '../../core/ids.ts'
import { Secret } from '../../core/secret.ts'
import type { KeyAdministration, KeySummary, TrustOrder } from '../../keys/administration.ts'
import type { components } from '../../openapi/types.gen.ts'
import type { CredentialSummary, NewCredential } from '../../sigv4/credential-table.ts'
import type { KeyStoreAdministration } from '../administration.ts'
import type { AdminApi } from './api.ts'
import { loadPages } from './pages.ts'

type Schemas = components['schemas']

export function createRemoteAdministration(api: AdminApi): KeyStoreAdministration {
  const change = async (accessKeyId: string, body: Schemas['AdminCredentialChangeRequest']) => {
    const options = { path: { accessKeyId } }
    return toSummary(await api.post('/admin/v1/credentials/{accessKeyId}', body, options))
  }
  const loadCredentials = async () => {
    const pages = await loadPages((query) => api.get('/admin/v1/credentials', { query }))
    return pages.flatMap(({ credentials }) => credentials)
  }
  const warnings: string[] = []
  return {
    warnings: () => warnings,
    keys: (keyStore) => createRemoteKeys(api, keyStore, warnings),
    credentials: {
      create: (keyStore, options) => createCredential(api, keyStore, options),
      async list(keyStore) {
        const all = (await loadCredentials()).map(toSummary)
        return keyStore === undefined ? all : all.filter((one) => one.keyStore === keyStore)
      },
      expire: (accessKeyId, at) => change(accessKeyId, { action: 'expire', at }),
      revoke: (accessKeyId) => change(accessKeyId, { action: 'revoke' }),
    },
    async credentialUses(accessKeyIds) {
      const all = (await loadCredentials()).filter(
        ({ accessKeyId }) => accessKeyIds?.includes(accessKeyId) !== false,
      )
      return new Map(
        all.flatMap(({ accessKeyId, uses, lastUsedAt }) =>
          uses === undefined || lastUsedAt === undefined
            ? []
            : [[accessKeyId, { uses, lastAt: lastUsedAt }]],
        ),
      )
    },
    close() {
      api.close()
      return Promise.resolve()
    },
  }
}

async function createCredential(
  api: AdminApi,
  keyStore: KeyStoreName,
  { expiresAt, pair }: NewCredential = {},
) {
  const created = await api.post('/admin/v1/credentials', {
    keyStore,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(pair && {
      pair: { accessKeyId: pair.accessKeyId, secretAccessKey: pair.secretAccessKey.reveal() },
    }),
  })
  return {
    // The cast is safe: the listener has validated the id.
    accessKeyId: created.accessKeyId as AccessKeyId,
    keyStore,
    secretAccessKey: new Secret(created.secretAccessKey),
    ...(created.expiresAt === undefined ? {} : { expiresAt: created.expiresAt }),
  }
}

/** Omits the fields that the control store's `list` does not return. */
function toSummary({
  uses: _uses,
  lastUsedAt: _lastUsedAt,
  ...one
}: Schemas['AdminCredential']): CredentialSummary {
  return one as CredentialSummary
}

function createRemoteKeys(
  api: AdminApi,
  keyStore: KeyStoreName,
  warnings: string[],
): KeyAdministration {
  const path = { keyStore }
  const change = async (keyId: ExternalKeyId, body: Schemas['AdminKeyChangeRequest']) => {
    const options = { path: { keyStore, keyId } }
    const found = await api.post('/admin/v1/keys/{keyStore}/{keyId}', body, options)
    return { ...found, key: toKey(found.key) }
  }
  return {
    async createKey({ keyId, canEncrypt, canDecrypt, material, ceremony, dates }) {
      const body = {
        ...{ keyId, canEncrypt, canDecrypt, ...dates },
        ...(material && { material: material.reveal().toString('base64') }),
        ...(ceremony && { ceremony: { ...ceremony, witnesses: [...ceremony.witnesses] } }),
      }
      return toKey(await api.post('/admin/v1/keys/{keyStore}', body, { path }))
    },
    async listKeys(page) {
      const pages = await loadPages((query) =>
        api.get('/admin/v1/keys/{keyStore}', { path, query }),
      )
      // Each page can repeat the warnings of the pages before.
      warnings.push(...new Set(pages.flatMap((one) => one.warnings ?? [])))
      const keys = pages.flatMap((one) => one.keys.map(toKey))
      if (page === undefined) return keys
      const { after, limit } = page
      return keys.filter(({ keyId }) => after === undefined || keyId > after).slice(0, limit)
    },
    rotateKey: async (keyId) => (await change(keyId, { action: 'rotate' })).key,
    setKeyStatus: async (keyId, status) =>
      (await change(keyId, { action: status === 'ENABLED' ? 'enable' : 'disable' })).key,
    setKeyDates: async (keyId, dates) =>
      (await change(keyId, { action: 'set-dates', ...dates })).key,
    destroyVersion: async (keyId, version) =>
      (await change(keyId, { action: 'destroy-version', version })).key,
    async trustKey(keyId, { reason }: TrustOrder) {
      const { key, changes = [] } = await change(keyId, { action: 'trust', reason })
      return { key, changes }
    },
  }
}

/** JSON omits undefined fields, and the listener returns only valid ids. */
function toKey(key: Schemas['AdminKey']): KeySummary {
  const keyId = key.keyId as ExternalKeyId
  return { ...key, keyId } as KeySummary
}
