/** KMS API operations on external key stores. */
// SPDX-License-Identifier: Apache-2.0
import { Secret } from '../../../core/secret.ts'
import type { CustomKeyStore, KeyStoreChange } from '../custom-key-store.ts'
import { KmsException } from '../proxy-failure.ts'
import { type Json, type Operation, optional, seconds, text, toPage } from './json.ts'

export const STORE_OPERATIONS = {
  CreateCustomKeyStore: async (kms, input) => {
    const { CustomKeyStoreType: type, ...rest } = input
    if (type !== 'EXTERNAL_KEY_STORE') {
      throw new KmsException(
        'UnsupportedOperationException',
        'latchkey kms supports only external key stores',
      )
    }
    const { name = '', ...proxy } = toChange(rest, 'CustomKeyStoreName')
    const created = await kms.stores.create({
      name,
      proxy: {
        connectivity: 'PUBLIC_ENDPOINT',
        uriEndpoint: '',
        uriPath: '',
        accessKeyId: '',
        rawSecretAccessKey: new Secret(''),
        ...proxy,
      },
    })
    return { CustomKeyStoreId: created.id }
  },
  DescribeCustomKeyStores: (kms, input) => {
    const id = optional(input, 'CustomKeyStoreId')
    const name = optional(input, 'CustomKeyStoreName')
    const found = kms.stores.describe({ ...(id && { id }), ...(name && { name }) })
    return toPage('CustomKeyStores', found.map(describeStore), input)
  },
  ConnectCustomKeyStore: (kms, input) => {
    kms.stores.connect(text(input, 'CustomKeyStoreId'))
    return {}
  },
  DisconnectCustomKeyStore: (kms, input) => {
    kms.stores.disconnect(text(input, 'CustomKeyStoreId'))
    return {}
  },
  UpdateCustomKeyStore: async (kms, input) => {
    const { CustomKeyStoreId: id, ...change } = input
    await kms.stores.update(String(id), toChange(change, 'NewCustomKeyStoreName'))
    return {}
  },
  DeleteCustomKeyStore: async (kms, input) => {
    await kms.stores.delete(text(input, 'CustomKeyStoreId'))
    return {}
  },
} as const satisfies Record<string, Operation>

/** Returns only the given fields. UpdateCustomKeyStore leaves the other fields unchanged. */
function toChange(input: Json, nameField: string): KeyStoreChange {
  const credential = input['XksProxyAuthenticationCredential'] as Json | undefined
  const pairs: readonly (readonly [string, unknown])[] = [
    ['name', optional(input, nameField)],
    ['connectivity', optional(input, 'XksProxyConnectivity')],
    ['uriEndpoint', optional(input, 'XksProxyUriEndpoint')],
    ['uriPath', optional(input, 'XksProxyUriPath')],
    ['vpcEndpointServiceName', optional(input, 'XksProxyVpcEndpointServiceName')],
    ['accessKeyId', credential && text(credential, 'AccessKeyId')],
    ['rawSecretAccessKey', credential && new Secret(text(credential, 'RawSecretAccessKey'))],
  ]
  return Object.fromEntries(pairs.filter(([, value]) => value !== undefined))
}

function describeStore({ id, name, createdAt, proxy, state, errorCode }: CustomKeyStore): Json {
  return {
    CustomKeyStoreId: id,
    CustomKeyStoreName: name,
    CustomKeyStoreType: 'EXTERNAL_KEY_STORE',
    ConnectionState: state,
    ...(errorCode && { ConnectionErrorCode: errorCode }),
    CreationDate: seconds(createdAt),
    XksProxyConfiguration: {
      AccessKeyId: proxy.accessKeyId,
      Connectivity: proxy.connectivity,
      UriEndpoint: proxy.uriEndpoint,
      UriPath: proxy.uriPath,
      ...(proxy.vpcEndpointServiceName && {
        VpcEndpointServiceName: proxy.vpcEndpointServiceName,
      }),
    },
  }
}
