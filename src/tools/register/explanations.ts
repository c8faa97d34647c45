/** The meaning of KMS's codes and exceptions, with a hint for each. docs/register.md has the same table. */
// SPDX-License-Identifier: Apache-2.0
import type { ConnectionErrorCodeType } from '@aws-sdk/client-kms'
import { LatchkeyError } from '../../core/errors.ts'
import { kmsNames } from '../../core/partitions.ts'

export interface Explanation {
  readonly meaning: string
  readonly hint: string
}

const CLOUDHSM: Explanation = {
  meaning: 'this code applies to CloudHSM key stores, not to external key stores',
  hint: 'check which key store this is: latchkey works only with external key stores',
}

/** Placeholder in hints for a region's KMS service principals. */
const PRINCIPAL = 'cks.kms.REGION.amazonaws.com'

/** Every `ConnectionErrorCode` of DescribeCustomKeyStores that the SDK knows. */
export const CONNECTION_ERRORS = {
  INVALID_CREDENTIALS: {
    meaning:
      'the proxy does not know the access key id that KMS uses, or has a different secret for it',
    hint: 'run latchkey credentials list and give KMS an ACTIVE credential with UpdateCustomKeyStore; check for a reverse proxy that changes the Host header',
  },
  XKS_PROXY_ACCESS_DENIED: {
    meaning: 'an authorization rule of the proxy denied the request from KMS',
    hint: 'latchkey has no authorization rule for GetHealthStatus, so check the load balancer or gateway in front of it',
  },
  XKS_PROXY_INVALID_CONFIGURATION: {
    meaning: 'the proxy does not serve this URI path, or the whole key store is blocked',
    hint: 'compare XksProxyUriPath with keyStores[].prefix; run latchkey status to see whether the key store is killed',
  },
  XKS_PROXY_INVALID_RESPONSE: {
    meaning: 'KMS cannot interpret the response, or the proxy failed',
    hint: "check the proxy's log; if the log has no request, a load balancer responded instead",
  },
  XKS_PROXY_INVALID_TLS_CONFIGURATION: {
    meaning:
      'KMS does not accept the certificate, its chain, authority or name, or the TLS version',
    hint: "run latchkey doctor: the chain must be complete and from an authority on AWS's list, with the host name as its common name",
  },
  XKS_PROXY_NOT_REACHABLE: {
    meaning: 'KMS cannot connect to the endpoint, or all key managers are UNAVAILABLE',
    hint: "check DNS, port 443, firewalls and security groups, then /ping?deep and the proxy's log",
  },
  XKS_PROXY_TIMED_OUT: {
    meaning: 'the proxy accepts the connection but does not respond within 250 ms',
    hint: 'run latchkey doctor to see where the time goes; the round trip to the region should be below 35 ms',
  },
  XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION: {
    meaning: 'the VPC endpoint service does not meet the requirements of KMS',
    hint: 'the endpoint service must be in the same account and region as the key store, use an NLB in two zones, not require acceptance, have a verified private DNS name equal to the proxy endpoint, and allow the principal cks.kms.REGION.amazonaws.com',
  },
  XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND: {
    meaning: 'KMS cannot find the VPC endpoint service',
    hint: 'check the endpoint service name; add cks.kms.REGION.amazonaws.com to its allowed principals',
  },
  NETWORK_ERRORS: {
    meaning: 'network errors occurred between KMS and the proxy',
    hint: 'disconnect the key store, wait a minute, and run latchkey register again',
  },
  INTERNAL_ERROR: {
    meaning: 'KMS had an internal error',
    hint: 'disconnect the key store and run latchkey register again; if the error persists, contact AWS Support',
  },
  CLUSTER_NOT_FOUND: CLOUDHSM,
  INSUFFICIENT_CLOUDHSM_HSMS: CLOUDHSM,
  INSUFFICIENT_FREE_ADDRESSES_IN_SUBNET: CLOUDHSM,
  SUBNET_NOT_FOUND: CLOUDHSM,
  USER_LOCKED_OUT: CLOUDHSM,
  USER_LOGGED_IN: CLOUDHSM,
  USER_NOT_FOUND: CLOUDHSM,
} as const satisfies Readonly<Record<ConnectionErrorCodeType, Explanation>>

/**
 * Explains a connection error code, inserting the region's service principals into the hint. An
 * unknown code is shown unchanged.
 */
export function explainConnectionError(code: string, region: string): Explanation {
  const found = (CONNECTION_ERRORS as Readonly<Record<string, Explanation>>)[code] ?? {
    meaning: 'this release of latchkey does not know the code',
    hint: 'see CustomKeyStoresListEntry in the KMS API reference',
  }
  return { meaning: found.meaning, hint: withNames(found.hint, region) }
}

function withNames(hint: string, region: string): string {
  return hint.replace(PRINCIPAL, kmsNames(region).join(' and '))
}

const ACCESS = 'see docs/register.md for the required permissions'
const CREDENTIALS =
  'set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run on a host with an attached role'

/** Hints for exceptions that a registration can encounter. Other exceptions are shown unchanged. */
export const EXCEPTION_HINTS = {
  XksProxyUriUnreachableException: CONNECTION_ERRORS.XKS_PROXY_NOT_REACHABLE.hint,
  XksProxyInvalidResponseException: CONNECTION_ERRORS.XKS_PROXY_INVALID_RESPONSE.hint,
  XksProxyInvalidConfigurationException: CONNECTION_ERRORS.XKS_PROXY_INVALID_CONFIGURATION.hint,
  XksProxyIncorrectAuthenticationCredentialException: CONNECTION_ERRORS.INVALID_CREDENTIALS.hint,
  XksProxyUriInUseException:
    'another key store of this account and region uses this endpoint and path: select that key store with --name, or give this key store its own prefix',
  XksProxyUriEndpointInUseException:
    'a host name can be used for PUBLIC_ENDPOINT or for VPC_ENDPOINT_SERVICE, but not for both',
  XksProxyVpcEndpointServiceInUseException:
    'each external key store needs its own VPC endpoint service',
  XksProxyVpcEndpointServiceNotFoundException:
    CONNECTION_ERRORS.XKS_VPC_ENDPOINT_SERVICE_NOT_FOUND.hint,
  XksProxyVpcEndpointServiceInvalidConfigurationException:
    CONNECTION_ERRORS.XKS_VPC_ENDPOINT_SERVICE_INVALID_CONFIGURATION.hint,
  CustomKeyStoreNameInUseException:
    'choose another --name; names are unique per account and region',
  CustomKeyStoreInvalidStateException:
    'the connection state does not allow this operation: run aws kms describe-custom-key-stores to see the state',
  CustomKeyStoreHasCMKsException:
    'schedule the deletion of the KMS keys in the key store, wait until they are deleted, and try again',
  XksKeyInvalidConfigurationException:
    'run latchkey keys list: the key must be ENABLED for both encrypt and decrypt, and not killed',
  XksKeyNotFoundException: 'run latchkey keys list, and check the key id and the key store',
  XksKeyAlreadyInUseException:
    'each KMS key needs its own external key: create one with latchkey keys create',
  LimitExceededException: 'an account has at most ten custom key stores in a region',
  AccessDeniedException: ACCESS,
  UnrecognizedClientException: CREDENTIALS,
  InvalidSignatureException: CREDENTIALS,
  ExpiredTokenException: CREDENTIALS,
  CredentialsProviderError: CREDENTIALS,
} as const satisfies Readonly<Record<string, string>>

export function hintOf(exception: string, region: string): string | undefined {
  const hint = (EXCEPTION_HINTS as Readonly<Record<string, string>>)[exception]
  return hint === undefined ? undefined : withNames(hint, region)
}

type RegistrationErrorCode =
  | 'KMS_REFUSED' // KMS returned an exception, or could not be reached
  | 'PREFLIGHT_FAILED' // a check found a problem for which KMS would reject the proxy
  | 'STORE_DIFFERS' // KMS has a key store of this name with different settings
  | 'CREDENTIAL_STALE' // KMS signs with a credential that is not active here
  | 'CONNECT_FAILED' // KMS could not connect the key store; the message has the error code
  | 'CONNECT_TIMEOUT' // KMS did not connect or disconnect the key store in time
  | 'KMS_ROUND_TRIP_FAILED' // KMS Decrypt returned a data key other than the one that KMS generated
  | 'STORE_HAS_KEYS' // the key store has, or may have, KMS keys
  | 'STORE_UNKNOWN' // KMS has no key store of this name
  | 'ROTATION_WAITS' // the old credential is still in use, or the new one is not in use yet

export class RegistrationError extends LatchkeyError<RegistrationErrorCode> {
  override readonly name: string = 'RegistrationError'
}
