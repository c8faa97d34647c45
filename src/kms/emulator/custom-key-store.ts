/** One custom key store: its state in KMS, and the checks that KMS makes before it calls the proxy. */
// SPDX-License-Identifier: Apache-2.0
import type { Secret } from '../../core/secret.ts'
import { type ConnectionErrorCode, KmsException, type KmsExceptionName } from './proxy-failure.ts'
import { findParameterFaults } from './xks-parameters.ts'

export type Connectivity = 'PUBLIC_ENDPOINT' | 'VPC_ENDPOINT_SERVICE'
export type ConnectionState =
  'CONNECTED' | 'CONNECTING' | 'FAILED' | 'DISCONNECTED' | 'DISCONNECTING'

export interface ProxyConfiguration {
  readonly connectivity: Connectivity
  readonly uriEndpoint: string
  readonly uriPath: string
  readonly vpcEndpointServiceName?: string
  readonly accessKeyId: string
  readonly rawSecretAccessKey: Secret
}

export interface CustomKeyStore {
  readonly id: string
  readonly name: string
  readonly createdAt: number
  readonly proxy: ProxyConfiguration
  readonly state: ConnectionState
  /** Set when the connection state is FAILED. */
  readonly errorCode?: ConnectionErrorCode
}

export interface NewCustomKeyStore {
  readonly name: string
  readonly proxy: ProxyConfiguration
}

export type KeyStoreChange = Partial<ProxyConfiguration> & { readonly name?: string }

/** @throws KmsException ValidationException */
export function checkParameters(name: string, proxy: ProxyConfiguration): void {
  const [fault] = findParameterFaults({
    customKeyStoreName: name,
    xksProxyUriEndpoint: proxy.uriEndpoint,
    xksProxyUriPath: proxy.uriPath,
    accessKeyId: proxy.accessKeyId,
    rawSecretAccessKey: proxy.rawSecretAccessKey.reveal(),
    ...(proxy.vpcEndpointServiceName === undefined
      ? {}
      : { xksProxyVpcEndpointServiceName: proxy.vpcEndpointServiceName }),
  })
  if (fault !== undefined) {
    throw new KmsException('ValidationException', `${fault.parameter}: ${fault.message}`)
  }
  const isVpc = proxy.connectivity === 'VPC_ENDPOINT_SERVICE'
  if (isVpc !== (proxy.vpcEndpointServiceName !== undefined)) {
    throw new KmsException(
      'ValidationException',
      'xksProxyVpcEndpointServiceName is required for VPC_ENDPOINT_SERVICE, and not allowed otherwise',
    )
  }
}

/** @throws KmsException */
export function checkUnique(
  { name, proxy }: NewCustomKeyStore,
  others: readonly CustomKeyStore[],
): void {
  const refuse = (code: KmsExceptionName, message: string): never => {
    throw new KmsException(code, message)
  }
  for (const other of others) {
    if (other.name === name)
      refuse('CustomKeyStoreNameInUseException', 'the name is already in use')
    const sameEndpoint = other.proxy.uriEndpoint === proxy.uriEndpoint
    if (sameEndpoint && other.proxy.uriPath === proxy.uriPath) {
      refuse('XksProxyUriInUseException', 'another key store already uses this endpoint and path')
    }
    const bothPublic = [other.proxy, proxy].every((one) => one.connectivity === 'PUBLIC_ENDPOINT')
    if (sameEndpoint && !bothPublic) {
      refuse('XksProxyUriEndpointInUseException', 'another key store already uses this endpoint')
    }
    const service = proxy.vpcEndpointServiceName
    if (service !== undefined && other.proxy.vpcEndpointServiceName === service) {
      refuse(
        'XksProxyVpcEndpointServiceInUseException',
        'another key store already uses this service',
      )
    }
  }
}

/** Returns the connection error that KMS would report for this store when it connects. */
export function findVpcFault(
  proxy: ProxyConfiguration,
  services: ReadonlyMap<string, string>,
): ConnectionErrorCode | undefined {
  if (proxy.vpcEndpointServiceName === undefined) return undefined
  const privateName = services.get(proxy.vpcEndpointServiceName)
  if (privateName === undefined) return 'XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND'
  if (`https://${privateName}` === proxy.uriEndpoint) return undefined
  return 'XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION'
}
