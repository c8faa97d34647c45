/** A key store that KMS has already, compared with what it should be. */
// SPDX-License-Identifier: Apache-2.0
import type { CustomKeyStoresListEntry } from '@aws-sdk/client-kms'
import { RegistrationError } from './errors.ts'
import type { NewStore } from './kms-api.ts'

/** @returns the access key id that KMS signs with. @throws RegistrationError STORE_DIFFERS */
export function checkSame(found: CustomKeyStoresListEntry, expected: NewStore): string {
  const proxy = found.XksProxyConfiguration
  const service = expected.vpcEndpointServiceName
  const rows: readonly (readonly [string, string | undefined, string | undefined])[] = [
    ['CustomKeyStoreType', found.CustomKeyStoreType, 'EXTERNAL_KEY_STORE'],
    ['XksProxyUriEndpoint', proxy?.UriEndpoint, expected.uriEndpoint],
    ['XksProxyUriPath', proxy?.UriPath, expected.uriPath],
    [
      'XksProxyConnectivity',
      proxy?.Connectivity,
      service === undefined ? 'PUBLIC_ENDPOINT' : 'VPC_ENDPOINT_SERVICE',
    ],
    ['XksProxyVpcEndpointServiceName', proxy?.VpcEndpointServiceName, service],
  ]
  const differing = rows.filter(([, is, should]) => is !== should)
  if (differing.length > 0) {
    const list = differing
      .map(([name, is = 'nothing', should = 'nothing']) => `${name} is ${is}, not ${should}`)
      .join('; ')
    throw new RegistrationError(
      'STORE_DIFFERS',
      `KMS has a key store ${expected.name} already, and ${list}`,
      {
        hint: 'choose another --name, or change it with aws kms update-custom-key-store',
      },
    )
  }
  return proxy?.AccessKeyId ?? ''
}
