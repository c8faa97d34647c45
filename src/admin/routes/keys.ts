/** Routes for keys and for the credentials that KMS signs with. */
// SPDX-License-Identifier: Apache-2.0
import { checkPermitted, keyStoresFor, type AdminPrincipal, type Permission } from '../principal.ts'
import {
  parseAccessKeyId,
  parseExternalKeyId,
  parseKeyStoreName,
  type KeyStoreName,
} from '../../core/ids.ts'
import { toRemark } from '../../core/remark.ts'
import { Secret } from '../../core/secret.ts'
import type { KeyAdministration } from '../../keys/administration.ts'
import type { components } from '../../openapi/types.gen.ts'
import type { ServedAdministration } from '../administration.ts'
import { AdminError } from '../errors.ts'
import { okPage, parsePage } from '../paging.ts'
import { type AdminRoute, ok } from '../route.ts'

type Schemas = components['schemas']

/** Error code that the `latchkey` command reports when it works directly on the control store. */
const WRONG_COMMAND = 'USAGE'

export interface KeyRoutesDeps {
  /** Opens the administration of keys and credentials for one call. */
  readonly withAdministration: <T>(
    operator: string,
    work: (administration: ServedAdministration) => Promise<T>,
  ) => Promise<T>
  /** Names of the configured key stores. */
  readonly keyStores: () => readonly string[]
  /**
   * Refuses to show a page of a store that the server has found to be tampered with.
   * @throws StorageError STORE_TAMPERED, STORE_CORRUPT
   */
  readonly checkStore: () => void
}

export function keyRoutes(deps: KeyRoutesDeps): readonly AdminRoute[] {
  return [...routesOfKeys(deps), ...routesOfCredentials(deps)]
}

function routesOfKeys(deps: KeyRoutesDeps): readonly AdminRoute[] {
  const { withAdministration, keyStores, checkStore } = deps
  const path = '/admin/v1/keys/:keyStore'
  const open = <T>(
    { name }: AdminPrincipal,
    keyStore: KeyStoreName,
    work: (keys: KeyAdministration) => Promise<T>,
  ) => withAdministration(name, (administration) => work(administration.keys(keyStore)))
  const toKeyStore = (
    principal: AdminPrincipal,
    permission: Permission,
    parameters: Readonly<Record<string, string>>,
  ) => checkKeyStore(keyStores(), principal, permission, parameters['keyStore'] ?? '')
  return [
    {
      ...{ method: 'GET', path, permission: 'read' },
      async handle({ parameters, principal, query }) {
        const keyStore = toKeyStore(principal, 'read', parameters)
        const page = parsePage(query, `keys ${keyStore}`, parseExternalKeyId)
        checkStore()
        return withAdministration(principal.name, async (administration) => {
          const part = { after: page.after, limit: page.count }
          const keys = await administration.keys(keyStore).listKeys(part)
          const warnings = [...administration.warnings()]
          const fields = warnings.length > 0 ? { warnings } : {}
          return okPage('keys', page, keys, ({ keyId }) => keyId, fields)
        })
      },
    },
    {
      ...{ method: 'POST', path, permission: 'keys', body: 'AdminKeyCreateRequest' },
      async handle({ body, parameters, principal }) {
        const keyStore = toKeyStore(principal, 'keys', parameters)
        const { keyId, canEncrypt, canDecrypt, material, ceremony, ...dates } =
          body as Schemas['AdminKeyCreateRequest']
        const key = {
          ...{ keyId: toKeyId(keyId), canEncrypt, canDecrypt },
          ...(Object.keys(dates).length > 0 && { dates }),
          ...(material && { material: new Secret(Buffer.from(material, 'base64')) }),
          ...(ceremony && {
            ceremony: { ...ceremony, witnesses: ceremony.witnesses.map(toRemark) },
          }),
        }
        return ok(await open(principal, keyStore, (keys) => keys.createKey(key)))
      },
    },
    {
      ...{ method: 'POST', path: `${path}/:keyId`, permission: 'keys' },
      body: 'AdminKeyChangeRequest',
      async handle({ body, parameters, principal }) {
        const keyStore = toKeyStore(principal, 'keys', parameters)
        const change = body as Schemas['AdminKeyChangeRequest']
        const keyId = parameters['keyId'] ?? ''
        return ok(
          await open(principal, keyStore, (keys) => changeKey(keys, keyId, change, principal)),
        )
      },
    },
  ]
}

/** @throws AdminError, BackendError */
async function changeKey(
  keys: KeyAdministration,
  text: string,
  { action, version, reason, ...dates }: Schemas['AdminKeyChangeRequest'],
  { name }: AdminPrincipal,
) {
  const keyId = toKeyId(text)
  switch (action) {
    case 'rotate':
      return { key: await keys.rotateKey(keyId) }
    case 'disable':
      return { key: await keys.setKeyStatus(keyId, 'DISABLED') }
    case 'enable':
      return { key: await keys.setKeyStatus(keyId, 'ENABLED') }
    case 'destroy-version':
      if (version === undefined) {
        throw new AdminError('INPUT_INVALID', '"destroy-version" requires the field "version"')
      }
      return { key: await keys.destroyVersion(keyId, version) }
    case 'set-dates':
      return { key: await keys.setKeyDates(keyId, dates) }
    case 'trust':
      if (reason === undefined)
        throw new AdminError('INPUT_INVALID', '"trust" requires the field "reason"')
      if (keys.trustKey === undefined) {
        const message = 'the keys of this key store are not on a token'
        throw new AdminError('CONFLICT', message, { reason: WRONG_COMMAND })
      }
      return keys.trustKey(keyId, { reason: toRemark(reason), operator: name })
  }
}

function routesOfCredentials({
  withAdministration,
  keyStores,
  checkStore,
}: KeyRoutesDeps): readonly AdminRoute[] {
  const path = '/admin/v1/credentials'
  return [
    {
      ...{ method: 'GET', path, permission: 'read' },
      async handle({ principal, query }) {
        const page = parsePage(query, 'credentials', parseAccessKeyId)
        const keyStores = keyStoresFor(principal, 'read')
        checkStore()
        return withAdministration(principal.name, async ({ credentials, credentialUses }) => {
          const found = await credentials.page({ after: page.after, limit: page.count, keyStores })
          const uses = await credentialUses(found.map(({ accessKeyId }) => accessKeyId))
          const shown = found.map((one) => {
            const use = uses.get(one.accessKeyId)
            return { ...one, ...(use && { uses: use.uses, lastUsedAt: use.lastAt }) }
          })
          return okPage('credentials', page, shown, ({ accessKeyId }) => accessKeyId)
        })
      },
    },
    {
      ...{ method: 'POST', path, permission: 'credentials', body: 'AdminCredentialCreateRequest' },
      async handle({ body, principal }) {
        const raw = body as Schemas['AdminCredentialCreateRequest']
        const keyStore = checkKeyStore(keyStores(), principal, 'credentials', raw.keyStore)
        const { expiresAt, pair } = raw
        const created = await withAdministration(principal.name, ({ credentials }) =>
          credentials.create(keyStore, {
            ...(expiresAt === undefined ? {} : { expiresAt }),
            ...(pair && { pair: { ...pair, secretAccessKey: new Secret(pair.secretAccessKey) } }),
          }),
        )
        return ok({ ...created, secretAccessKey: created.secretAccessKey.reveal() })
      },
    },
    {
      ...{ method: 'POST', path: `${path}/:accessKeyId`, permission: 'credentials' },
      body: 'AdminCredentialChangeRequest',
      async handle({ body, parameters, principal }) {
        const { action, at } = body as Schemas['AdminCredentialChangeRequest']
        const { accessKeyId = '' } = parameters
        return withAdministration(principal.name, async ({ credentials }) => {
          const found = await credentials.find(accessKeyId)
          checkPermitted(principal, 'credentials', found?.keyStore)
          if (action === 'revoke') return ok(await credentials.revoke(accessKeyId))
          if (at === undefined)
            throw new AdminError('INPUT_INVALID', '"expire" requires the field "at"')
          return ok(await credentials.expire(accessKeyId, at))
        })
      },
    },
  ]
}

/** @throws AdminError INPUT_INVALID, FORBIDDEN */
function checkKeyStore(
  known: readonly string[],
  principal: AdminPrincipal,
  permission: Permission,
  text: string,
): KeyStoreName {
  const name = parseKeyStoreName(text)
  if (name === undefined || !known.includes(name)) {
    throw new AdminError('INPUT_INVALID', `there is no key store ${text.slice(0, 64)}`)
  }
  checkPermitted(principal, permission, name)
  return name
}

function toKeyId(text: string) {
  const keyId = parseExternalKeyId(text)
  if (keyId === undefined)
    throw new AdminError(
      'INPUT_INVALID',
      'keyId: expected 1 to 128 letters, digits, hyphens, periods and underscores',
    )
  return keyId
}
