/** Maps each kind of proxy failure to the errors that KMS reports. */
// SPDX-License-Identifier: Apache-2.0
import { LatchkeyError } from '../../core/errors.ts'
import type { components } from '../../openapi/types.gen.ts'

type XksErrorName = components['schemas']['ErrorResponse']['errorName']

export type ProxyFailureKind =
  | XksErrorName
  | 'MALFORMED' // a response that KMS cannot interpret
  | 'TCP' // KMS could not open a TCP connection
  | 'TLS' // the connection was made, but TLS failed
  | 'TIMEOUT' // both attempts timed out, each after 250 ms
  | 'ALL_UNAVAILABLE' // the health check succeeded, but no key manager is available

/** Values of `ConnectionErrorCode` in DescribeCustomKeyStores that apply to external key stores. */
export type ConnectionErrorCode =
  | 'INVALID_CREDENTIALS'
  | 'XKS_PROXY_ACCESS_DENIED'
  | 'XKS_PROXY_INVALID_CONFIGURATION'
  | 'XKS_PROXY_INVALID_RESPONSE'
  | 'XKS_PROXY_INVALID_TLS_CONFIGURATION'
  | 'XKS_PROXY_NOT_REACHABLE'
  | 'XKS_PROXY_TIMED_OUT'
  | 'XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION'
  | 'XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND'

export class ProxyFailure extends LatchkeyError<ProxyFailureKind> {
  override readonly name = 'ProxyFailure'
}

/** The KMS operation in progress, which determines which exception KMS throws. */
export type KmsSituation = 'key store' | 'CreateKey' | 'cryptographic'

interface Consequences {
  /** Exception that CreateCustomKeyStore and UpdateCustomKeyStore throw. */
  readonly keyStore: KmsExceptionName
  readonly createKey: KmsExceptionName
  readonly connection: ConnectionErrorCode
  readonly sentence: string
}

const UNINTELLIGIBLE = 'KMS cannot interpret the response of the external key store proxy'
const BUSY = 'the external key store proxy throttled KMS'

/**
 * The rows follow XKS 1.0.3, Error codes, KMS Considerations. Cryptographic operations throw
 * KMSInvalidStateException for every failure. The specification has no row for AccessDenied and
 * InvalidState when a key store is created, and none for connection error codes, so those rows
 * follow AWS's description of each code.
 */
const CONSEQUENCES: Readonly<Record<ProxyFailureKind, Consequences>> = {
  ValidationException: malformed(UNINTELLIGIBLE),
  InvalidStateException: {
    keyStore: 'XksProxyInvalidConfigurationException',
    createKey: 'XksKeyInvalidConfigurationException',
    connection: 'XKS_PROXY_INVALID_CONFIGURATION',
    sentence: 'the external key or key store is not enabled in the external key manager',
  },
  InvalidCiphertextException: malformed(
    'the proxy refused the ciphertext or the encryption context as corrupted or invalid',
  ),
  InvalidKeyUsageException: {
    ...malformed('the external key does not support the requested operation'),
    createKey: 'XksKeyInvalidConfigurationException',
  },
  AuthenticationFailedException: {
    keyStore: 'XksProxyIncorrectAuthenticationCredentialException',
    createKey: 'CustomKeyStoreInvalidStateException',
    connection: 'INVALID_CREDENTIALS',
    sentence: 'the external key store proxy could not authenticate KMS',
  },
  AccessDeniedException: {
    keyStore: 'XksProxyInvalidConfigurationException',
    createKey: 'KMSInvalidStateException',
    connection: 'XKS_PROXY_ACCESS_DENIED',
    sentence: 'the external key store proxy denied access to the operation',
  },
  KeyNotFoundException: {
    ...malformed('the external key was not found in its external key manager'),
    createKey: 'XksKeyNotFoundException',
  },
  InvalidUriPathException: {
    keyStore: 'XksProxyInvalidConfigurationException',
    createKey: 'CustomKeyStoreInvalidStateException',
    connection: 'XKS_PROXY_INVALID_CONFIGURATION',
    sentence: 'the external key store proxy does not know the URI path',
  },
  ThrottlingException: unreachable('XKS_PROXY_NOT_REACHABLE', BUSY),
  UnsupportedOperationException: malformed('the proxy does not support the requested operation'),
  DependencyTimeoutException: unreachable(
    'XKS_PROXY_TIMED_OUT',
    'the external key store proxy did not get a response from its key manager in time',
  ),
  InternalException: malformed('the proxy cannot communicate with its external key manager'),
  MALFORMED: malformed(UNINTELLIGIBLE),
  TCP: unreachable(
    'XKS_PROXY_NOT_REACHABLE',
    'KMS cannot communicate with the external key store proxy',
  ),
  TLS: unreachable(
    'XKS_PROXY_INVALID_TLS_CONFIGURATION',
    'KMS cannot establish a TLS connection to the external key store proxy',
  ),
  TIMEOUT: unreachable(
    'XKS_PROXY_TIMED_OUT',
    'the external key store proxy did not respond in time',
  ),
  ALL_UNAVAILABLE: unreachable(
    'XKS_PROXY_NOT_REACHABLE',
    'the proxy reports that all external key managers are unavailable',
  ),
}

function malformed(sentence: string): Consequences {
  return {
    keyStore: 'XksProxyInvalidResponseException',
    createKey: 'CustomKeyStoreInvalidStateException',
    connection: 'XKS_PROXY_INVALID_RESPONSE',
    sentence,
  }
}

function unreachable(connection: ConnectionErrorCode, sentence: string): Consequences {
  return {
    keyStore: 'XksProxyUriUnreachableException',
    createKey: 'CustomKeyStoreInvalidStateException',
    connection,
    sentence,
  }
}

/** Converts a ProxyFailure to the exception that the caller of KMS gets; returns any other error unchanged. */
export function toKmsException(thrown: unknown, situation: KmsSituation): unknown {
  if (!(thrown instanceof ProxyFailure)) return thrown
  const { keyStore, createKey, sentence } = CONSEQUENCES[thrown.code]
  const name =
    situation === 'key store'
      ? keyStore
      : situation === 'CreateKey'
        ? createKey
        : 'KMSInvalidStateException'
  return new KmsException(name, sentence, { cause: thrown })
}

export function toConnectionErrorCode(failure: ProxyFailure): ConnectionErrorCode {
  return CONSEQUENCES[failure.code].connection
}

/** Returns the `errorName` if it is in the specification's table, otherwise undefined. */
export function parseXksErrorName(value: unknown): XksErrorName | undefined {
  return typeof value === 'string' && KNOWN.has(value) ? (value as XksErrorName) : undefined
}

const KNOWN: ReadonlySet<string> = new Set(
  Object.keys(CONSEQUENCES).filter((kind) => kind.endsWith('Exception')),
)

/** Exception names of the KMS API (version 2014-11-01). The emulator throws no others. */
export type KmsExceptionName =
  | 'ValidationException' // a parameter violates its pattern or length
  | 'NotFoundException' // there is no such KMS key
  | 'DisabledException' // the KMS key is disabled in KMS
  | 'IncorrectKeyException' // the ciphertext was encrypted under a different KMS key than the one named
  | 'InvalidCiphertextException' // the blob is invalid, or belongs to another backing key
  | 'InvalidKeyUsageException' // the KMS key does not allow this usage
  | 'UnsupportedOperationException' // the operation does not apply to this kind of key store
  | 'LimitExceededException' // there are already ten key stores
  | 'KMSInvalidStateException' // every failure of a cryptographic operation in an external key store
  | 'CustomKeyStoreNotFoundException'
  | 'CustomKeyStoreInvalidStateException' // the connection state does not allow the operation
  | 'CustomKeyStoreNameInUseException'
  | 'CustomKeyStoreHasCMKsException' // there are KMS keys in the store
  | 'AlreadyExistsException' // an alias of this name exists
  | 'InvalidAliasNameException'
  | 'TagException'
  | 'MalformedPolicyDocumentException' // the key policy is not JSON
  | 'DryRunOperationException' // the request would have succeeded
  | 'ThrottlingException' // the caller exceeds its KMS request quota
  | 'XksKeyAlreadyInUseException' // another KMS key has this external key id
  | 'XksKeyInvalidConfigurationException' // the external key is not enabled, or lacks a usage
  | 'XksKeyNotFoundException' // the proxy does not know the external key
  | 'XksProxyIncorrectAuthenticationCredentialException'
  | 'XksProxyInvalidConfigurationException' // the URI path is wrong
  | 'XksProxyInvalidResponseException'
  | 'XksProxyUriEndpointInUseException'
  | 'XksProxyUriInUseException'
  | 'XksProxyUriUnreachableException'
  | 'XksProxyVpcEndpointServiceInUseException'

export class KmsException extends LatchkeyError<KmsExceptionName> {
  override readonly name = 'KmsException'
}
